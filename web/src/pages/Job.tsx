import { useEffect, useMemo, useState } from "preact/hooks";
import { useMay } from "../access";
import { download, events, part, type Problem, send } from "../api";
import type { Job as JobData } from "../contract";
import { asProblem, useAsked } from "../data";
import { Card, Meter, SetBar, Shown } from "../parts";
import { Lines } from "../parts/lines";
import { to } from "../route";
import { duration, figure, number, percent, t, time, told } from "../words";
import { Verdict } from "./Compare";
import { took } from "./Jobs";

const ENDED = ["succeeded", "failed", "cancelled"];
const KEPT_POINTS = 500;

interface Moment {
  step: number;
  speed: number | null;
  loss: number | null;
  metric: number | null;
}

export function Job({ id }: { id: string }) {
  const first = useAsked<JobData>(`/v1/jobs/${part(id)}`);
  const [live, setLive] = useState<JobData | null>(null);
  const [seen, setSeen] = useState<Moment[]>([]);
  const [problem, setProblem] = useState<Problem | null>(null);
  const following = first.data !== null && !ENDED.includes(first.data.state);
  useEffect(() => {
    if (!following) return;
    const leaving = new AbortController();
    const follow = async () => {
      for await (const told of events(`/v1/jobs/${part(id)}/events`, leaving.signal)) {
        const job = JSON.parse(told.data) as JobData;
        setLive(job);
        const { step, samples_per_second, loss, metric } = job.progress;
        const now = { step, speed: samples_per_second, loss: loss ?? null, metric: metric?.value ?? null };
        setSeen((before) => (before.at(-1)?.step === step ? before : [...before, now].slice(-KEPT_POINTS)));
      }
    };
    follow().catch((error) => leaving.signal.aborted || setProblem(asProblem(error)));
    return () => leaving.abort();
  }, [id, following]);

  return (
    <Shown data={live ?? first.data} problem={problem ?? first.problem}>
      {(job) => (
        <>
          <Head job={job} onProblem={setProblem} />
          <div class="grid">
            {job.error && (
              <Card title={job.error.code} wide>
                <p>{job.error.detail}</p>
                <p>
                  <strong>{t("remedy")}:</strong> {job.error.remedy}
                </p>
              </Card>
            )}
            {!ENDED.includes(job.state) && <Live job={job} seen={seen} />}
            {job.kind === "compare" && job.result && <Verdict job={job} />}
            {job.result && <Result job={job} />}
            <Card title={t("parameters")}>
              <Pairs of={job.params} />
            </Card>
          </div>
        </>
      )}
    </Shown>
  );
}

function Head({ job, onProblem }: { job: JobData; onProblem: (problem: Problem) => void }) {
  const mayCancel = useMay("jobs");
  const cancel = () => send("POST", `/v1/jobs/${part(job.id)}/cancel`).catch((error) => onProblem(asProblem(error)));
  const report = () =>
    download(`/v1/jobs/${part(job.id)}/report.html`, `${job.dataset}-${job.kind}-report.html`).catch((error) =>
      onProblem(asProblem(error)),
    );
  const reports = job.state === "succeeded" && ["score", "grow", "train", "compare"].includes(job.kind);
  return (
    <div class="title">
      <div>
        <h1>
          <a href={to("d", job.dataset)}>{job.dataset}</a> · {job.kind}
        </h1>
        <p class="quiet">
          <span class={`state ${job.state}`}>{told("state", job.state)}</span> {job.model ?? ""} · {time(job.created_at)} ·{" "}
          {took(job)} {job.attempt > 1 && `· ${t("attempt")} ${job.attempt}`}
        </p>
      </div>
      <div class="buttons">
        {reports && (
          <button type="button" onClick={report}>
            {t("download_report")}
          </button>
        )}
        {mayCancel && !ENDED.includes(job.state) && (
          <button type="button" class="danger" onClick={cancel}>
            {t("cancel_job")}
          </button>
        )}
      </div>
    </div>
  );
}

function Live({ job, seen }: { job: JobData; seen: Moment[] }) {
  const { phase, step, total_steps, fraction, eta_seconds, samples_per_second, loss, metric } = job.progress;
  const x = useMemo(() => seen.map((moment) => moment.step), [seen]);
  const lines = useMemo(() => {
    const withLoss = seen.some((moment) => moment.loss !== null);
    const drawn = withLoss
      ? [{ name: t("loss"), colour: "core", values: seen.map((moment) => moment.loss) }]
      : [{ name: t("speed", { speed: "" }), colour: "edge", values: seen.map((moment) => moment.speed) }];
    const metrics = seen.some((moment) => moment.metric !== null);
    return metrics
      ? [...drawn, { name: metric?.name ?? "", colour: "noise", values: seen.map((moment) => moment.metric) }]
      : drawn;
  }, [seen]);
  return (
    <Card title={t("progress")} wide>
      <Meter share={fraction} label={t("progress")} />
      <p class="live" aria-live="polite">
        <strong>{percent(fraction)}</strong> {told("phase", phase)} {total_steps > 0 && `${number(step)}/${number(total_steps)}`}
        {samples_per_second !== null && <span>{t("speed", { speed: figure(samples_per_second) })}</span>}
        {loss !== null && loss !== undefined && <span>{`${t("loss")} ${figure(loss)}`}</span>}
        {metric && <span>{`${metric.name} ${figure(metric.value)}`}</span>}
        {eta_seconds !== null && <span>{t("left", { time: duration(eta_seconds) })}</span>}
      </p>
      {x.length > 2 && <Lines x={x} xName={t("step")} lines={lines} said={t("progress")} />}
    </Card>
  );
}

function Result({ job }: { job: JobData }) {
  const result = job.result!;
  const sets = result["sets"] as Record<"core" | "edge" | "noise", number> | undefined;
  return (
    <Card title={t("result")}>
      {sets && <SetBar sizes={sets} />}
      <Pairs of={result} />
    </Card>
  );
}

/** Plain values as they are; what is deeper, folded. */
function Pairs({ of }: { of: Record<string, unknown> }) {
  const pairs = Object.entries(of).filter(([, value]) => value !== null);
  return (
    <dl class="pairs">
      {pairs.map(([name, value]) => (
        <>
          <dt>{name}</dt>
          <dd>
            {typeof value === "object" ? (
              <details>
                <summary>{Array.isArray(value) ? `[${value.length}]` : "{…}"}</summary>
                <pre>{JSON.stringify(value, null, 2).slice(0, 20_000)}</pre>
              </details>
            ) : typeof value === "number" ? (
              figure(value)
            ) : (
              String(value)
            )}
          </dd>
        </>
      ))}
    </dl>
  );
}
