import { useState } from "preact/hooks";
import type { Job, JobState, Page } from "../contract";
import { useAsked } from "../data";
import { Choice, Meter, Shown } from "../parts";
import { to } from "../route";
import { duration, percent, t, time, told } from "../words";

const STATES: JobState[] = ["queued", "running", "succeeded", "failed", "cancelled"];

export function Jobs() {
  const [state, setState] = useState("");
  const [limit, setLimit] = useState(50);
  const asked = useAsked<Page<Job>>(`/v1/jobs?limit=${limit}${state && `&state=${state}`}`, 2);
  return (
    <>
      <div class="title">
        <div>
          <h1>{t("jobs")}</h1>
          <p class="quiet">{t("jobs_lead")}</p>
        </div>
        <Choice
          label={t("state")}
          value={state}
          options={[["", t("all")], ...STATES.map((one): [string, string] => [one, told("state", one)])]}
          onChange={setState}
        />
      </div>
      <Shown {...asked}>
        {({ items, next_cursor }) => (
          <div class="card wide">
            <JobRows jobs={items} withDataset />
            {next_cursor && limit < 1000 && (
              <button type="button" onClick={() => setLimit(Math.min(1000, 2 * limit))}>
                {t("more")}
              </button>
            )}
          </div>
        )}
      </Shown>
    </>
  );
}

export function took(job: Job): string {
  if (job.started_at === null) return "–";
  const end = job.finished_at === null ? Date.now() : Date.parse(job.finished_at);
  return duration(Math.max(0, (end - Date.parse(job.started_at)) / 1000));
}

export function JobRows({ jobs, withDataset = false }: { jobs: Job[]; withDataset?: boolean }) {
  if (jobs.length === 0) return <p class="quiet">{t("no_jobs")}</p>;
  return (
    <div class="scrolls">
      <table class="rows">
        <thead>
          <tr>
            <th>{t("kind")}</th>
            {withDataset && <th>{t("dataset")}</th>}
            <th>{t("state")}</th>
            <th>{t("progress")}</th>
            <th>{t("started")}</th>
            <th class="number">{t("took")}</th>
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <tr key={job.id}>
              <td>
                <a href={to("jobs", job.id)}>{job.kind}</a>
              </td>
              {withDataset && (
                <td>
                  <a href={to("d", job.dataset)}>{job.dataset}</a>
                </td>
              )}
              <td>
                <span class={`state ${job.state}`}>{told("state", job.state)}</span>
              </td>
              <td>
                {job.state === "running" ? (
                  <>
                    <Meter share={job.progress.fraction} label={t("progress")} /> {percent(job.progress.fraction)}
                  </>
                ) : (
                  (job.error?.code ?? "")
                )}
              </td>
              <td>{time(job.started_at)}</td>
              <td class="number">{took(job)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
