// A metric over the number of samples trained on: chosen sets, and as many at random.

import { figure, number, t } from "../words";

export interface CurvePoint {
  name: string;
  samples: number;
  mean: number;
  low: number | null;
  high: number | null;
}

const WIDTH = 640;
const HEIGHT = 240;
const SIDES = { left: 56, right: 24, top: 14, bottom: 40 };
const TICKS = 4;

/** floor: what is reached without a model, drawn where it is near. */
export function LearningCurve({ points, metric, floor }: { points: CurvePoint[]; metric: string; floor: number | null }) {
  const most = Math.max(...points.map((point) => point.samples));
  const [low, high] = reach(points, floor);
  const x = (samples: number) => SIDES.left + (samples / most) * (WIDTH - SIDES.left - SIDES.right);
  const y = (value: number) =>
    HEIGHT - SIDES.bottom - ((value - low) / (high - low)) * (HEIGHT - SIDES.top - SIDES.bottom);
  const bySize = [...points].sort((a, b) => a.samples - b.samples);
  const random = bySize.filter((point) => point.name.startsWith("random:"));
  const chosen = bySize.filter((point) => !random.includes(point));
  const ticks = Array.from({ length: TICKS + 1 }, (_, at) => low + ((high - low) * at) / TICKS);
  return (
    <figure class="curve">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={said(bySize, metric)}>
        {ticks.map((tick) => (
          <>
            <line class="rule" x1={SIDES.left} x2={WIDTH - SIDES.right} y1={y(tick)} y2={y(tick)} />
            <text class="tick-name" x={SIDES.left - 8} y={y(tick) + 4} text-anchor="end">
              {figure(tick)}
            </text>
          </>
        ))}
        {floor !== null && floor >= low && (
          <line class="floor" x1={SIDES.left} x2={WIDTH - SIDES.right} y1={y(floor)} y2={y(floor)} />
        )}
        {[...new Set(bySize.map((point) => point.samples))].map((samples) => (
          <text class="tick-name" x={x(samples)} y={HEIGHT - SIDES.bottom + 16} text-anchor="middle">
            {number(samples)}
          </text>
        ))}
        {[
          { kind: "random", some: random, aside: 4 },
          { kind: "chosen", some: chosen, aside: -4 },
        ].map(({ kind, some, aside }) => (
          <g class={kind}>
            <polyline points={some.map((point) => `${x(point.samples) + aside},${y(point.mean)}`).join(" ")} />
            {some.map((point) => (
              <g>
                <title>{said([point], metric)}</title>
                {point.low !== null && point.high !== null && (
                  <line x1={x(point.samples) + aside} x2={x(point.samples) + aside} y1={y(point.low)} y2={y(point.high)} />
                )}
                <circle cx={x(point.samples) + aside} cy={y(point.mean)} r="4.5" />
              </g>
            ))}
          </g>
        ))}
        <text class="tick-name" x={(WIDTH + SIDES.left - SIDES.right) / 2} y={HEIGHT - 6} text-anchor="middle">
          {t("trained_on")}
        </text>
      </svg>
      <figcaption class="quiet">
        <span class="chosen">●</span> {t("curve_sets")} <span class="random">●</span> {t("curve_random")}
        {floor !== null && floor >= low && ` ┄ ${t("without_model")}`}
      </figcaption>
    </figure>
  );
}

/** The floor belongs in the picture where it does not press everything else into a corner. */
function reach(points: CurvePoint[], floor: number | null): [number, number] {
  const ends = points.flatMap((point) => [point.mean, point.low ?? point.mean, point.high ?? point.mean]);
  let [low, high] = [Math.min(...ends), Math.max(...ends)];
  if (floor !== null && floor < low && low - floor < 2 * (high - low)) low = floor;
  const space = 0.08 * (high - low) || 0.05;
  return [low - space, high + space];
}

function said(points: CurvePoint[], metric: string): string {
  return points
    .map(({ name, samples, mean, low, high }) => {
      const interval = low === null || high === null ? "" : ` (${figure(low)}–${figure(high)})`;
      return `${name}: ${metric} ${figure(mean)}${interval}, ${number(samples)} ${t("samples")}`;
    })
    .join("; ");
}
