// The review queue: one sample at a time, one key each.

import { useCallback, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useMay } from "../access";
import { part, type Problem } from "../api";
import type { Dataset, QueueItem, Verdict } from "../contract";
import { asProblem, useAsked } from "../data";
import { Card, Failure, LabelName, SampleText, SetTag, Shown } from "../parts";
import { to } from "../route";
import { figure, percent, t, told } from "../words";
import { ReviewFiles } from "./ReviewFiles";
import { type Judged, judge, takeBack, VerdictButtons } from "./verdicts";

const AT_A_TIME = 50;

export function Review({ dataset }: { dataset: Dataset }) {
  const queue = useAsked<{ items: QueueItem[] }>(`/v1/datasets/${part(dataset.name)}/review-queue?limit=${AT_A_TIME}`);
  return (
    <>
      <Shown {...queue}>
        {({ items }) => <Queue key={items[0]?.id} dataset={dataset} items={items} onEnd={queue.again} />}
      </Shown>
      <ReviewFiles dataset={dataset} onImported={queue.again} />
    </>
  );
}

function Queue({ dataset, items, onEnd }: { dataset: Dataset; items: QueueItem[]; onEnd: () => void }) {
  const [at, setAt] = useState(0);
  const [said, setSaid] = useState<Map<string, Verdict>>(new Map());
  const [done, setDone] = useState<string[]>([]);
  const [problem, setProblem] = useState<Problem | null>(null);
  const mayWrite = useMay("write");
  const mayStart = useMay("jobs");
  const item = items[at];

  const note = useCallback(
    (id: string, verdict: Verdict) => {
      setSaid((before) => new Map(before).set(id, verdict));
      setDone((before) => [...before, id]);
      setAt((before) => before + 1);
    },
    [setSaid],
  );
  const sending = useRef(false);
  // A key that comes before the last one is answered would mean the sample that is still shown: it counts for nothing.
  const oneByOne = useCallback(async (work: () => Promise<void>) => {
    if (sending.current) return;
    sending.current = true;
    setProblem(null);
    await work().catch((error) => setProblem(asProblem(error)));
    sending.current = false;
  }, []);
  const say = useCallback(
    async (judged: Judged) => {
      if (!item || !mayWrite) return;
      await judge(dataset.name, item.id, judged);
      note(item.id, judged.verdict);
    },
    [dataset.name, item, mayWrite, note],
  );
  const undo = useCallback(async () => {
    const last = done.at(-1);
    if (last === undefined) return;
    await takeBack(dataset.name, last);
    setDone((before) => before.slice(0, -1));
    setSaid((before) => {
      const left = new Map(before);
      left.delete(last);
      return left;
    });
    setAt(items.findIndex((one) => one.id === last));
  }, [dataset.name, done, items]);

  // With the page, not after it: a key means what is shown.
  useLayoutEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input, select, textarea")) return;
      const judged = judgedBy(event.key.toLowerCase(), item, dataset);
      if (judged) void oneByOne(() => say(judged));
      else if (event.key === "z" || event.key === "Z") void oneByOne(undo);
      else if (event.key === "ArrowLeft") setAt((before) => Math.max(0, before - 1));
      else if (event.key === "ArrowRight") setAt((before) => Math.min(items.length, before + 1));
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [dataset, item, items.length, oneByOne, say, undo]);

  const asked = (verdict: Verdict | undefined) => (verdict ? t("verdict_kept", { verdict: told("verdict", verdict) }) : "");
  return (
    <>
      <p class="quiet">
        {t("review_lead")} <kbd>Z</kbd> {t("undo")} <kbd>←</kbd>
        <kbd>→</kbd> {t("move")}
      </p>
      <p aria-live="polite" class="quiet">
        {t("reviewed_count", { count: done.length })} {done.length > 0 && (
          <button type="button" class="link" onClick={() => oneByOne(undo)}>
            {t("undo")}
          </button>
        )}
        {done.length > 0 && mayStart && (
          <>
            {" · "}
            <a href={to("d", dataset.name, "start", "score")}>{t("score_again")}</a>
          </>
        )}
      </p>
      {problem && <Failure problem={problem} />}
      {item ? (
        <Card title={item.id} side={<SetTag set={item.set} />}>
          <SampleText text={item.text} pair={item.text_pair} whole />
          <p class="judged">
            {t("label")}: <LabelName label={item.label} />
            {item.suggested_label !== null && item.suggested_label !== item.label && (
              <>
                {" → "}
                {t("suggested")}: <LabelName label={item.suggested_label} />
              </>
            )}
          </p>
          <p class="quiet">
            {told("reason", item.reason)} ·{" "}
            {item.noise_probability !== null && `${t("noise_probability")} ${percent(item.noise_probability)} · `}
            {t("importance")} {figure(item.importance)}{" "}
            · <a href={to("d", dataset.name, "s", item.id)}>{t("why_here")}</a>
          </p>
          <VerdictButtons
            key={item.id}
            dataset={dataset}
            sample={item}
            keys
            onDone={(verdict) => verdict && note(item.id, verdict)}
          />
          <p>{asked(said.get(item.id))}</p>
        </Card>
      ) : (
        <div class="empty">
          <p>{t("review_done")}</p>
          <button type="button" class="main" onClick={onEnd}>
            {t("more")}
          </button>
        </div>
      )}
    </>
  );
}

/** What a key says of the sample: R, W, U, or the number of the right label. */
function judgedBy(key: string, item: QueueItem | undefined, dataset: Dataset): Judged | null {
  if (!item) return null;
  if (key === "r") return { verdict: "correct" };
  if (key === "u") return { verdict: "unsure" };
  if (key === "w") {
    const { suggested_label, label } = item;
    return suggested_label !== null && suggested_label !== label
      ? { verdict: "wrong", label: suggested_label }
      : { verdict: "wrong" };
  }
  const label = /^[1-9]$/.test(key) ? dataset.labels?.[Number(key) - 1] : undefined;
  if (label === undefined) return null;
  return label === item.label ? { verdict: "correct" } : { verdict: "wrong", label };
}
