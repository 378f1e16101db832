// A reviewer's word on a label, on the sample's page and in the queue.

import { useState } from "preact/hooks";
import { useMay } from "../access";
import { part, type Problem, send } from "../api";
import type { Dataset, Label, Other, Verdict } from "../contract";
import { asProblem } from "../data";
import { Failure } from "../parts";
import { t, told } from "../words";

export interface Judged {
  verdict: Verdict;
  label?: Label;
}

export async function judge(dataset: string, id: string, judged: Judged): Promise<void> {
  await send("POST", reviewOf(dataset, id), judged);
}

export async function takeBack(dataset: string, id: string): Promise<void> {
  await send("DELETE", reviewOf(dataset, id));
}

function reviewOf(dataset: string, id: string): string {
  return `/v1/datasets/${part(dataset)}/samples/${part(id)}/review`;
}

type Reviewable = Other & { suggested_label: Label | null; review?: Verdict | null };

export function VerdictButtons(props: { dataset: Dataset; sample: Reviewable; keys?: boolean; onDone: (verdict: Verdict | null) => void }) {
  const { dataset, sample } = props;
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const act = async (work: Promise<void>, verdict: Verdict | null) => {
    setBusy(true);
    setProblem(null);
    await work.then(
      () => props.onDone(verdict),
      (error) => setProblem(asProblem(error)),
    );
    setBusy(false);
  };
  const mayWrite = useMay("write");
  const keyOf = (key: string) => props.keys && <kbd>{key}</kbd>;
  const others = (dataset.labels ?? []).filter((label) => label !== sample.label);
  const say = (judged: Judged) => act(judge(dataset.name, sample.id, judged), judged.verdict);
  return (
    <fieldset class="verdicts" disabled={busy || !mayWrite} title={mayWrite ? undefined : t("not_with_key")}>
      <legend>{t("your_verdict")}</legend>
      <button type="button" onClick={() => say({ verdict: "correct" })}>
        {t("verdict_correct")}
        {keyOf("R")}
      </button>
      {others.length <= 5 ? (
        others.map((label) => (
          <button type="button" onClick={() => say({ verdict: "wrong", label })}>
            {t("verdict_change", { label: String(label) })}
            {keyOf(label === sample.suggested_label ? "W" : String((dataset.labels ?? []).indexOf(label) + 1))}
          </button>
        ))
      ) : (
        <select
          aria-label={t("to_label")}
          onChange={(event) => {
            const label = others[Number(event.currentTarget.value)];
            if (label !== undefined) say({ verdict: "wrong", label });
          }}
        >
          <option value="">{t("to_label")} …</option>
          {others.map((label, at) => (
            <option value={at} selected={false}>
              {String(label)}
              {label === sample.suggested_label ? " ★" : ""}
            </option>
          ))}
        </select>
      )}
      <button type="button" onClick={() => say({ verdict: "unsure" })}>
        {t("verdict_unsure")}
        {keyOf("U")}
      </button>
      {sample.review && (
        <button type="button" class="link" onClick={() => act(takeBack(dataset.name, sample.id), null)}>
          {t("undo")} ({told("verdict", sample.review)})
        </button>
      )}
      {problem && <Failure problem={problem} />}
    </fieldset>
  );
}
