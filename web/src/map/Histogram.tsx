// Importance by set, on a logarithmic scale. Drag over bars to keep those samples.

import { useState } from "preact/hooks";
import { figure, number, t } from "../words";
import { BY_CODE } from "./Scatter";

const HEIGHT = 110;

export function Histogram(props: {
  edges: number[];
  counts: number[][];
  range: [number, number] | null;
  onRange: (range: [number, number] | null) => void;
}) {
  const { edges, counts } = props;
  const [from, setFrom] = useState<number | null>(null);
  const most = Math.max(1, ...counts.map((bin) => bin.reduce((sum, one) => sum + one, 0)));
  const binAt = (event: PointerEvent) => {
    const edge = (event.currentTarget as Element).getBoundingClientRect();
    const share = (event.clientX - edge.left) / edge.width;
    return Math.max(0, Math.min(counts.length - 1, Math.floor(share * counts.length)));
  };
  const kept = (bin: number) =>
    props.range === null || (edges[bin + 1]! > props.range[0] && edges[bin]! < props.range[1]);
  return (
    <div>
      <svg
        class="histogram"
        viewBox={`0 0 ${counts.length} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${t("importance")}: ${figure(edges[0])} – ${figure(edges.at(-1))}`}
        onPointerDown={(event) => {
          (event.currentTarget as Element).setPointerCapture(event.pointerId);
          setFrom(binAt(event));
        }}
        onPointerMove={(event) => {
          if (from === null) return;
          const here = binAt(event);
          props.onRange([edges[Math.min(from, here)]!, edges[Math.max(from, here) + 1]!]);
        }}
        onPointerUp={(event) => {
          if (from === binAt(event)) props.onRange(null);
          setFrom(null);
        }}
      >
        {counts.map((bin, at) => {
          let height = 0;
          return bin.map((count, set) => {
            const tall = (HEIGHT * count) / most;
            height += tall;
            return count === 0 ? null : (
              <rect
                class={`${BY_CODE[set]} ${kept(at) ? "" : "dim"}`}
                x={at + 0.05}
                width={0.9}
                y={HEIGHT - height}
                height={tall}
              >
                <title>{number(count)}</title>
              </rect>
            );
          });
        })}
      </svg>
      <div class="x-name">
        <span>{figure(edges[0])}</span>
        <span>{t("importance")}</span>
        <span>{figure(edges.at(-1))}</span>
      </div>
    </div>
  );
}
