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
  let best: number[] = [];
  let least = -Infinity;
  const sorted = () => best.sort((a, b) => map.importance[b]! - map.importance[a]!).slice(0, most);
  const [left, right] = [box.left * STEPS, box.right * STEPS];
  const [bottom, top] = [box.bottom * STEPS, box.top * STEPS];
  for (let at = 0; at < map.count; at++) {
    const x = map.variability[at]!;
    const y = map.confidence[at]!;
    if (x >= left && x <= right && y >= bottom && y <= top && passes[at] && map.importance[at]! > least) {
      if (best.push(at) < 4 * most + 1_000) continue;
      best = sorted();
      least = map.importance[best.at(-1)!]!;
    }
  }
  return sorted();
}

export interface Bins {
  /** Ends of the bins, on a logarithmic scale. */
  edges: number[];
  /** The bin of each point. */
  of: Uint8Array;
}

const MOST_ORDERS = 1e6;

export function importanceBins(map: DataMap, bins: number): Bins {
  let [least, most] = [Infinity, 0];
  for (const value of map.importance) {
    if (value > 0 && value < least) least = value;
    if (value > most) most = value;
  }
  if (most <= 0) [least, most] = [0.1, 1];
  least = Math.max(least, most / MOST_ORDERS);
  const width = Math.log(most / least) / bins || 1;
  const of = new Uint8Array(map.count);
  for (let at = 0; at < map.count; at++) {
    of[at] = Math.min(bins - 1, Math.log(Math.max(map.importance[at]!, least) / least) / width);
  }
  return { edges: Array.from({ length: bins + 1 }, (_, at) => least * Math.exp(width * at)), of };
}

/** How many passing points each bin has: by bin, then by set. */
export function countBins(map: DataMap, passes: Uint8Array, bins: Bins): number[][] {
  const counts = Array.from({ length: bins.edges.length - 1 }, () => [0, 0, 0, 0]);
  for (let at = 0; at < map.count; at++) if (passes[at]) counts[bins.of[at]!]![map.set[at]!]!++;
  return counts;
}
