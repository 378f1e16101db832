// Which points pass: filters of the page, a brushed rectangle, a range of importance.

import { type DataMap, STEPS } from "./columns";
import type { Window } from "./raster";

export interface Filter {
  /** Index of a label; -1: all. */
  label: number;
  /** Of those that the service found for a text or a group; null: all. */
  ordinals: Uint32Array | null;
  sets: [boolean, boolean, boolean, boolean];
  importance: [number, number] | null;
}

export const ALL: Filter = { label: -1, ordinals: null, sets: [true, true, true, true], importance: null };

export function passing(map: DataMap, filter: Filter): Uint8Array {
  const passes = new Uint8Array(map.count);
  const [low, high] = filter.importance ?? [-Infinity, Infinity];
  const { ordinals } = filter;
  let next = 0;
  for (let at = 0; at < map.count; at++) {
    if (ordinals !== null) {
      // Both ascend.
      while (next < ordinals.length && ordinals[next]! < map.ordinal[at]!) next++;
      if (ordinals[next] !== map.ordinal[at]) continue;
    }
    if (filter.label >= 0 && map.label[at] !== filter.label) continue;
    if (!filter.sets[map.set[at]!]) continue;
    const importance = map.importance[at]!;
    if (importance < low || importance > high) continue;
    passes[at] = 1;
  }
  return passes;
}

/** How many of the passing points lie in a rectangle, by set. */
export function countInside(map: DataMap, passes: Uint8Array, box: Window): number[] {
  const counts = [0, 0, 0, 0];
  const [left, right] = [box.left * STEPS, box.right * STEPS];
  const [bottom, top] = [box.bottom * STEPS, box.top * STEPS];
  const { variability, confidence, set, count } = map;
  for (let at = 0; at < count; at++) {
    const x = variability[at]!;
    const y = confidence[at]!;
    if (x >= left && x <= right && y >= bottom && y <= top && passes[at]) counts[set[at]!]!++;
  }
  return counts;
}

/** Places of the passing points in a rectangle, most important first, at most so many. */
export function mostImportant(map: DataMap, passes: Uint8Array, box: Window, most: number): number[] {
  const inside: number[] = [];
  const [left, right] = [box.left * STEPS, box.right * STEPS];
  const [bottom, top] = [box.bottom * STEPS, box.top * STEPS];
  for (let at = 0; at < map.count; at++) {
    const x = map.variability[at]!;
    const y = map.confidence[at]!;
    if (x >= left && x <= right && y >= bottom && y <= top && passes[at]) inside.push(at);
  }
  return inside.sort((a, b) => map.importance[b]! - map.importance[a]!).slice(0, most);
}

export interface Bins {
  /** Ends of the bins, on a logarithmic scale. */
  edges: number[];
  /** By bin, then by set. */
  counts: number[][];
}

export function importanceBins(map: DataMap, passes: Uint8Array, bins: number): Bins {
  let [least, most] = [Infinity, 0];
  for (let at = 0; at < map.count; at++) {
    const value = map.importance[at]!;
    if (value > 0 && value < least) least = value;
    if (value > most) most = value;
  }
  if (most <= 0) [least, most] = [0.1, 1];
  least = Math.max(least, most / 1e6);
  const width = Math.log(most / least) / bins || 1;
  const counts = Array.from({ length: bins }, () => [0, 0, 0, 0]);
  for (let at = 0; at < map.count; at++) {
    if (!passes[at]) continue;
    const bin = Math.floor(Math.log(Math.max(map.importance[at]!, least) / least) / width);
    counts[Math.min(bins - 1, bin)]![map.set[at]!]!++;
  }
  return { edges: Array.from({ length: bins + 1 }, (_, at) => least * Math.exp(width * at)), counts };
}
