// The map itself: variability to the right, confidence upwards. Drag to brush, wheel to zoom, click for a sample.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { SETS } from "../contract";
import { figure, number, t, told } from "../words";
import { countInside } from "./choosing";
import { type DataMap, MOST_VARIABILITY, STEPS } from "./columns";
import { drawPoints, nearest, type Rgb, WHOLE, type Window } from "./raster";

const HEIGHT = 460;
const CLICK_PIXELS = 8;
const DRAG_PIXELS = 4;
/** The service counts sets from unscored on. */
export const BY_CODE = ["unscored", "core", "edge", "noise"] as const;

interface Spot {
  x: number;
  y: number;
}

export function Scatter(props: {
  map: DataMap;
  passes: Uint8Array;
  box: Window | null;
  onBrush: (box: Window | null) => void;
  onOpen: (at: number) => void;
}) {
  const { map, passes, box } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const whole = useMemo(() => extent(map), [map]);
  const [seen, setSeen] = useState<Window>(whole);
  const [from, setFrom] = useState<Spot | null>(null);
  const [to, setTo] = useState<Spot | null>(null);
  const [counts, setCounts] = useState<number[] | null>(null);

  useLayoutEffect(() => {
    const element = canvas.current!;
    const watching = new ResizeObserver(() => setWidth(element.clientWidth));
    watching.observe(element);
    return () => watching.disconnect();
  }, []);

  useEffect(() => {
    const element = canvas.current!;
    if (width === 0) return;
    const wanted = requestAnimationFrame(() => {
      const density = Math.min(2, devicePixelRatio);
      element.width = Math.round(width * density);
      element.height = Math.round(HEIGHT * density);
      const context = element.getContext("2d")!;
      const image = context.createImageData(element.width, element.height);
      drawPoints(image, map, passes, seen, coloursOf(element));
      context.putImageData(image, 0, 0);
      element.dataset["drawn"] = String(map.count);
    });
    return () => cancelAnimationFrame(wanted);
  }, [map, passes, seen, width]);

  const spot = (event: PointerEvent | WheelEvent): Spot => {
    const edge = canvas.current!.getBoundingClientRect();
    return { x: event.clientX - edge.left, y: event.clientY - edge.top };
  };
  const onMap = ({ x, y }: Spot): Spot => ({
    x: seen.left + (x / width) * (seen.right - seen.left),
    y: seen.top - (y / HEIGHT) * (seen.top - seen.bottom),
  });
  const boxOf = (one: Spot, other: Spot): Window => {
    const [a, b] = [onMap(one), onMap(other)];
    return { left: Math.min(a.x, b.x), right: Math.max(a.x, b.x), bottom: Math.min(a.y, b.y), top: Math.max(a.y, b.y) };
  };
  const started = (event: PointerEvent) => {
    if (event.button !== 0) return;
    (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
    setFrom(spot(event));
    setTo(null);
  };
  const moved = (event: PointerEvent) => {
    if (from === null) return;
    const here = spot(event);
    if (to === null && Math.hypot(here.x - from.x, here.y - from.y) < DRAG_PIXELS) return;
    setTo(here);
    setCounts(countInside(map, passes, boxOf(from, here)));
  };
  const ended = (event: PointerEvent) => {
    if (from === null) return;
    if (to === null) {
      const here = onMap(spot(event));
      const found = nearest(map, seen, here.x, here.y, CLICK_PIXELS / width);
      if (found >= 0) props.onOpen(found);
      else props.onBrush(null);
    } else props.onBrush(boxOf(from, to));
    setFrom(null);
    setTo(null);
    setCounts(null);
  };
  const wheeled = (event: WheelEvent) => {
    event.preventDefault();
    const at = onMap(spot(event));
    const by = event.deltaY > 0 ? 1.25 : 0.8;
    setSeen((before) => zoomed(before, at, by, whole));
  };
  const brushed = from && to ? boxOf(from, to) : box;
  const summary = SETS.map((set) => `${told("set", set)}: ${number(countOf(map, BY_CODE.indexOf(set)))}`).join(", ");
  return (
    <div class="scatter">
      <div class="y-name">{t("confidence")}</div>
      <div class="plot">
        <canvas
          ref={canvas}
          role="img"
          aria-label={`${t("map")}: ${summary}`}
          onPointerDown={started}
          onPointerMove={moved}
          onPointerUp={ended}
          onPointerCancel={() => setFrom(null)}
          onWheel={wheeled}
        />
        {brushed && <Brush box={brushed} seen={seen} counts={counts} />}
        <span class="tick upper">{figure(seen.top)}</span>
        <span class="tick lower">{figure(seen.bottom)}</span>
      </div>
      <div class="x-name">
        <span>{figure(seen.left * MOST_VARIABILITY)}</span>
        <span>{t("variability")}</span>
        <span>{figure(seen.right * MOST_VARIABILITY)}</span>
      </div>
      {seen !== whole && (
        <button type="button" class="link" onClick={() => setSeen(whole)}>
          {t("whole_map")}
        </button>
      )}
    </div>
  );
}

function Brush({ box, seen, counts }: { box: Window; seen: Window; counts: number[] | null }) {
  const x = (value: number) => `${(100 * (value - seen.left)) / (seen.right - seen.left)}%`;
  const y = (value: number) => `${(100 * (seen.top - value)) / (seen.top - seen.bottom)}%`;
  const place = {
    left: x(box.left),
    top: y(box.top),
    width: `calc(${x(box.right)} - ${x(box.left)})`,
    height: `calc(${y(box.bottom)} - ${y(box.top)})`,
  };
  return (
    <div class="brush" style={place}>
      {counts && <output>{number(counts.reduce((sum, one) => sum + one, 0))}</output>}
    </div>
  );
}

/** All of the points: the right end goes by the most variable one. */
function extent(map: DataMap): Window {
  let most = 0;
  for (const one of map.variability) if (one > most) most = one;
  return { ...WHOLE, right: Math.min(1, Math.max(0.1, (1.04 * most) / STEPS)) };
}

function zoomed(before: Window, at: Spot, by: number, whole: Window): Window {
  const width = Math.min(whole.right, (before.right - before.left) * by);
  const height = Math.min(1, (before.top - before.bottom) * by);
  if (width >= whole.right && height >= 1) return whole;
  if (width < 0.005) return before;
  const share = (at.x - before.left) / (before.right - before.left);
  const rise = (at.y - before.bottom) / (before.top - before.bottom);
  const left = Math.min(whole.right - width, Math.max(0, at.x - share * width));
  const bottom = Math.min(1 - height, Math.max(0, at.y - rise * height));
  return { left, right: left + width, bottom, top: bottom + height };
}

export function coloursOf(element: Element): Rgb[] {
  const style = getComputedStyle(element);
  return BY_CODE.map((set) => {
    const value = Number.parseInt(style.getPropertyValue(`--${set}`).trim().slice(1), 16);
    return [value >> 16, (value >> 8) & 255, value & 255];
  });
}

function countOf(map: DataMap, code: number): number {
  let count = 0;
  for (const one of map.set) if (one === code) count++;
  return count;
}
