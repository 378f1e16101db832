// The data map as the service sends it: a JSON header, and each column as a little-endian array.

import type { Label, SetName } from "../contract";

export interface DataMap {
  count: number;
  total: number;
  version: number | null;
  labels: Label[];
  sets: SetName[];
  verdicts: (string | null)[];
  ordinal: Uint32Array;
  importance: Float32Array;
  confidence: Uint16Array;
  variability: Uint16Array;
  noise: Uint16Array;
  label: Uint16Array;
  set: Uint8Array;
  split: Uint8Array;
  reviewed: Uint8Array;
}

export const STEPS = 65_535;
export const MOST_VARIABILITY = 0.5;
export const NO_NOISE = 65_535;

interface Header extends Pick<DataMap, "count" | "total" | "version" | "labels" | "sets" | "verdicts"> {
  format: number;
  columns: { name: string; offset: number }[];
}

const PREFIX = 8;

export function readMap(body: ArrayBuffer): DataMap {
  const view = new DataView(body);
  const length = view.getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(body, PREFIX, length))) as Header;
  if (header.format !== 1) throw new Error(`a map of format ${header.format}`);
  const start = (name: string) => {
    const column = header.columns.find((one) => one.name === name);
    if (!column) throw new Error(`the map has no column ${name}`);
    return PREFIX + length + column.offset;
  };
  const { count } = header;
  return {
    ...header,
    ordinal: new Uint32Array(body, start("ordinal"), count),
    importance: new Float32Array(body, start("importance"), count),
    confidence: new Uint16Array(body, start("confidence"), count),
    variability: new Uint16Array(body, start("variability"), count),
    noise: new Uint16Array(body, start("noise_probability"), count),
    label: new Uint16Array(body, start("label"), count),
    set: new Uint8Array(body, start("set"), count),
    split: new Uint8Array(body, start("split"), count),
    reviewed: new Uint8Array(body, start("reviewed"), count),
  };
}
