// Draws a million points in some 30 ms without a GPU: counts by pixel and set, then colours by density.

import { type DataMap, STEPS } from "./columns";

/** What of the map is seen: shares of its width and height. */
export interface Window {
  left: number;
  right: number;
  bottom: number;
  top: number;
}

export const WHOLE: Window = { left: 0, right: 1, bottom: 0, top: 1 };
export type Rgb = [number, number, number];
const DIM = 0.12;
const KINDS = 4;

/** Few points are drawn large, many small. */
export function pointRadius(count: number): number {
  if (count < 5_000) return 3;
  if (count < 30_000) return 2;
  return count < 200_000 ? 1 : 0;
}

/** Args: shown: 1 for points that pass the filters; the others are dimmed. */
export function drawPoints(image: ImageData, map: DataMap, shown: Uint8Array, window: Window, colours: Rgb[]): void {
  const { width, height, data } = image;
  // Four weights a pixel, one for each set, beside each other: a point then touches one line of memory.
  const bright = new Float32Array(KINDS * width * height);
  const radius = pointRadius(map.count);
  const xScale = width / ((window.right - window.left) * STEPS);
  const yScale = height / ((window.top - window.bottom) * STEPS);
  const [xFrom, yFrom] = [window.left * STEPS, window.bottom * STEPS];
  const { confidence, variability, set, count } = map;
  for (let at = 0; at < count; at++) {
    const x = ((variability[at]! - xFrom) * xScale) | 0;
    const y = height - 1 - (((confidence[at]! - yFrom) * yScale) | 0);
    if (x < -radius || y < -radius || x >= width + radius || y >= height + radius) continue;
    const weight = shown[at] ? 1 : DIM;
    const kind = set[at]!;
    if (radius === 0) {
      if (x >= 0 && y >= 0 && x < width && y < height) bright[KINDS * (y * width + x) + kind]! += weight;
      continue;
    }
    for (let dy = -radius; dy <= radius; dy++) {
      for (let dx = -radius; dx <= radius; dx++) {
        const [px, py] = [x + dx, y + dy];
        if (dx * dx + dy * dy > radius * radius + 1 || px < 0 || py < 0 || px >= width || py >= height) continue;
        bright[KINDS * (py * width + px) + kind]! += weight;
      }
    }
  }
  colour(data, bright, colours);
}

/** A pixel has the mean colour of its points, and is the more opaque the more there are. */
function colour(data: Uint8ClampedArray, bright: Float32Array, colours: Rgb[]): void {
  for (let place = 0; place < bright.length; place += KINDS) {
    let [all, red, green, blue] = [0, 0, 0, 0];
    for (let kind = 0; kind < KINDS; kind++) {
      const weight = bright[place + kind]!;
      if (weight === 0) continue;
      const rgb = colours[kind]!;
      all += weight;
      red += weight * rgb[0];
      green += weight * rgb[1];
      blue += weight * rgb[2];
    }
    if (all === 0) {
      data[place + 3] = 0;
      continue;
    }
    data[place] = red / all;
    data[place + 1] = green / all;
    data[place + 2] = blue / all;
    data[place + 3] = 255 * (1 - Math.exp(-0.75 * all));
  }
}

/** The point nearest to a place of the map, at most `reach` (in shares of the seen window) away; -1: none. */
export function nearest(map: DataMap, window: Window, x: number, y: number, reach: number): number {
  const [xUnit, yUnit] = [(window.right - window.left) * STEPS, (window.top - window.bottom) * STEPS];
  const [xAt, yAt] = [x * STEPS, y * STEPS];
  let [found, least] = [-1, reach * reach];
  for (let at = 0; at < map.count; at++) {
    const dx = (map.variability[at]! - xAt) / xUnit;
    const dy = (map.confidence[at]! - yAt) / yUnit;
    const distance = dx * dx + dy * dy;
    if (distance < least) [found, least] = [at, distance];
  }
  return found;
}
