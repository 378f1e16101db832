// The answers of the service, as far as the pages read them.

export type Label = string | number;
export type SetName = "core" | "edge" | "noise" | "unscored";
export const SETS: SetName[] = ["core", "edge", "noise", "unscored"];
export type Split = "train" | "validation" | "test";

export interface DatasetBrief {
  name: string;
  task: "classification" | "relevance";
  labels: Label[] | null;
  description: string | null;
  created_at: string;
  set_version: number | null;
}

export interface DatasetDetails {
  samples: number;
  sets: Record<SetName, number>;
  last_job: Pick<Job, "id" | "kind" | "state" | "progress"> | null;
}

export interface Dataset extends DatasetBrief {
  samples: number;
  splits: Record<Split, number>;
  label_counts: { label: Label | null; samples: number }[];
  sets: Record<SetName, number>;
  lineage: { id: string; model: string; runs: number } | null;
}

export interface SetVersion {
  version: number;
  sizes: Record<"core" | "edge" | "noise", number>;
  policy: string;
  job: string;
  created_at: string;
}

export interface Progress {
  phase: string;
  step: number;
  total_steps: number;
  fraction: number;
  eta_seconds: number | null;
  samples_per_second: number | null;
  loss?: number | null;
  metric?: { name: string; value: number } | null;
}

export type JobState = "queued" | "running" | "succeeded" | "failed" | "cancelled";

export interface Job {
  id: string;
  kind: string;
  dataset: string;
  model: string | null;
  state: JobState;
  progress: Progress;
  attempt: number;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  params: Record<string, unknown>;
  result: Record<string, unknown> | null;
  error: { code: string; detail: string; remedy: string } | null;
}

export interface Page<Item> {
  items: Item[];
  next_cursor: string | null;
}

export interface Ingested {
  received: number;
  created: number;
  updated: number;
  unchanged: number;
  rejected_total: number;
  rejected: { index: number; id: string | null; code: string; detail: string }[];
}

export interface Sample {
  id: string;
  text: string;
  text_pair: string | null;
  label: Label | null;
  group: string | null;
  split: Split;
  score: { importance: number | null; noise_probability: number | null; percentile: number | null };
  membership: { set: SetName; version: number | null; reason: string };
  flags: string[] | null;
}

export interface Other {
  id: string;
  text: string;
  text_pair: string | null;
  label: Label | null;
}

export interface Visit {
  run: number;
  epoch: number;
  correct: boolean;
  grad_norm: number;
  loss: number;
  confidence: number;
}

export interface Explanation extends Other {
  set: SetName;
  reason: string;
  rule: string;
  version: number | null;
  policy: string | null;
  importance: number | null;
  rank: { overall: number; of: number; within_label: number; of_label: number } | null;
  noise_probability: number | null;
  review: Verdict | null;
  suggested_label: Label | null;
  model_label: Label | null;
  model_probability: number | null;
  trajectory: Visit[];
  neighbours: (Other & { similarity: number; set: SetName })[];
  helps: (Other & { alignment: number })[];
  hurts: (Other & { alignment: number })[];
}

export type Verdict = "correct" | "wrong" | "unsure";

export interface QueueItem extends Other {
  label: Label;
  suggested_label: Label | null;
  noise_probability: number | null;
  set: SetName;
  reason: string;
  importance: number;
}
