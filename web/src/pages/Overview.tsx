import { part } from "../api";
import type { Dataset, Job, Page, QueueItem, SetVersion } from "../contract";
import { useAsked } from "../data";
import { Card, excerpt, LabelName, Meter, SampleText, SetBar, SetTag, Shown } from "../parts";
import { type Line, Lines } from "../parts/lines";
import { to } from "../route";
import { figure, number, percent, t, time, told } from "../words";
import { JobRows } from "./Jobs";

const FIRST = 10;

export function Overview({ dataset }: { dataset: Dataset }) {
  const base = `/v1/datasets/${part(dataset.name)}`;
  const scored = dataset.set_version !== null;
  const jobs = useAsked<Page<Job>>(`/v1/jobs?dataset=${part(dataset.name)}&limit=5`, 5);
  const versions = useAsked<{ items: SetVersion[] }>(scored ? `${base}/sets` : null);
  return (
    <div class="grid">
      <Card title={t("sets")} side={scored && <span class="quiet">{`${t("version")} ${dataset.set_version}`}</span>}>
        <SetBar sizes={scored ? dataset.sets : {}} />
        {!scored && dataset.samples > 0 && (
          <p>
            {t("score_first")} <a href={to("d", dataset.name, "start", "score")}>{t("start_job")}</a>
          </p>
        )}
        {versions.data && versions.data.items.length > 1 && <OverVersions versions={versions.data.items} />}
      </Card>
      <Card title={t("labels")}>
        <Shares
          rows={dataset.label_counts.slice(0, 12).map((one) => ({
            name: one.label === null ? t("no_label") : String(one.label),
            count: one.samples,
          }))}
          all={dataset.samples}
        />
        <h3>{t("splits")}</h3>
        <Shares
          rows={Object.entries(dataset.splits).map(([split, count]) => ({ name: told("split", split), count }))}
          all={dataset.samples}
        />
      </Card>
      {scored && <WorthALook dataset={dataset} />}
      <Card title={t("jobs")} wide side={<a href={to("d", dataset.name, "start", "score")}>{t("start_job")}</a>}>
        <Shown {...jobs}>{({ items }) => <JobRows jobs={items} />}</Shown>
      </Card>
    </div>
  );
}

function Shares({ rows, all }: { rows: { name: string; count: number }[]; all: number }) {
  return (
    <table class="shares">
      <tbody>
        {rows.map((row) => (
          <tr>
            <th scope="row">
              <bdi>{row.name}</bdi>
            </th>
            <td>
              <Meter share={all ? row.count / all : 0} label={row.name} />
            </td>
            <td class="number">{number(row.count)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function OverVersions({ versions }: { versions: SetVersion[] }) {
  const oldest = [...versions].reverse();
  const lines: Line[] = (["core", "edge", "noise"] as const).map((set) => ({
    name: told("set", set),
    colour: set,
    values: oldest.map((version) => version.sizes[set]),
  }));
  return (
    <>
      <h3>{t("sets_over_versions")}</h3>
      <Lines
        x={oldest.map((version) => version.version)}
        xName={t("version")}
        lines={lines}
        said={versions.map((one) => `${one.version}: ${one.sizes.core}, ${one.sizes.edge}, ${one.sizes.noise}`).join("; ")}
      />
      <p class="quiet">{`${versions[0]?.policy} · ${time(versions[0]?.created_at ?? null)}`}</p>
    </>
  );
}

function WorthALook({ dataset }: { dataset: Dataset }) {
  const queue = useAsked<{ items: QueueItem[] }>(`/v1/datasets/${part(dataset.name)}/review-queue?limit=${FIRST}`);
  return (
    <Card title={t("worth_a_look")} wide side={<a href={to("d", dataset.name, "review")}>{t("open_queue")}</a>}>
      <Shown {...queue}>
        {({ items }) =>
          items.length === 0 ? (
            <p class="quiet">{t("review_done")}</p>
          ) : (
            <ol class="samples">
              {items.map((item) => (
                <li>
                  <a href={to("d", dataset.name, "s", item.id)}>
                    <SampleText text={excerpt(item.text, 160)} />
                  </a>
                  <span>
                    <LabelName label={item.label} />
                    {item.suggested_label !== null && item.suggested_label !== item.label && (
                      <>
                        {" → "}
                        <LabelName label={item.suggested_label} />
                      </>
                    )}
                  </span>
                  <SetTag set={item.set} />
                  <span class="number">
                    {item.noise_probability !== null && item.noise_probability >= 0.005
                      ? percent(item.noise_probability)
                      : figure(item.importance)}
                  </span>
                </li>
              ))}
            </ol>
          )
        }
      </Shown>
    </Card>
  );
}
