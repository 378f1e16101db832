import type { Dataset, Job, Page, SetVersion } from "../contract";
import { useAsked } from "../data";
import { part } from "../api";
import { Card, Shown } from "../parts";
import { LearningCurve } from "../parts/curve";
import { to } from "../route";
import { figure, number, t } from "../words";
import { JobRows } from "./Jobs";
import { MovesCard } from "./Moves";

interface Interval {
  mean: number;
  low: number | null;
  high: number | null;
}

interface Compared {
  metric: string;
  verdict: string[];
  without_a_model: { value: number } | null;
  subsets: { subset: string; samples: number; steps: number; metrics: Record<string, Interval> }[];
}

export function Compare({ dataset }: { dataset: Dataset }) {
  const jobs = useAsked<Page<Job>>(`/v1/jobs?dataset=${part(dataset.name)}&limit=200`);
  const scored = dataset.set_version !== null;
  const versions = useAsked<{ items: SetVersion[] }>(scored ? `/v1/datasets/${part(dataset.name)}/sets` : null);
  return (
    <Shown {...jobs}>
      {({ items }) => {
        const compared = items.filter((job) => job.kind === "compare");
        const newest = compared.find((job) => job.state === "succeeded");
        return (
          <div class="grid">
            {newest && <Verdict job={newest} />}
            {versions.data && versions.data.items.length > 1 && (
              <MovesCard dataset={dataset} versions={versions.data.items} />
            )}
            <Card title={t("kind_compare")} wide side={<a href={to("d", dataset.name, "start", "compare")}>{t("start_job")}</a>}>
              {compared.length === 0 && <p class="quiet">{t("compare_lead")}</p>}
              {compared.length > 0 && <JobRows jobs={compared} />}
            </Card>
          </div>
        );
      }}
    </Shown>
  );
}

/** What a comparison says, and each subset's mean with its interval on one scale. */
export function Verdict({ job }: { job: Job }) {
  const result = job.result as unknown as Compared;
  const points = result.subsets.map((one) => ({ ...one, at: one.metrics[result.metric]! }));
  const ends = points.flatMap(({ at }) => [at.low ?? at.mean, at.high ?? at.mean, at.mean]);
  const [least, most] = [Math.min(...ends), Math.max(...ends)];
  const place = (value: number) => `${(100 * (value - least)) / (most - least || 1)}%`;
  return (
    <Card title={t("compare")} wide>
      <ul class="verdict">
        {result.verdict.map((line) => (
          <li>{line}</li>
        ))}
      </ul>
      <LearningCurve
        points={points.map(({ subset, samples, at }) => ({ name: subset, samples, ...at }))}
        metric={result.metric}
        floor={result.without_a_model?.value ?? null}
      />
      <table class="intervals">
        <thead>
          <tr>
            <th />
            <th class="number">{t("samples")}</th>
            <th>{result.metric}</th>
            <th class="number" />
          </tr>
        </thead>
        <tbody>
          {points.map(({ subset, samples, at }) => (
            <tr>
              <th scope="row">{subset}</th>
              <td class="number">{number(samples)}</td>
              <td class="interval">
                <span class="reach" style={{ left: place(at.low ?? at.mean), width: `calc(${place(at.high ?? at.mean)} - ${place(at.low ?? at.mean)})` }} />
                <span class="mean" style={{ left: place(at.mean) }} />
              </td>
              <td class="number">
                {figure(at.mean)} {at.low !== null && `(${figure(at.low)}–${figure(at.high)})`}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Card>
  );
}
