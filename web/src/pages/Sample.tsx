import { useMemo } from "preact/hooks";
import { part } from "../api";
import type { Dataset, Explanation, Other } from "../contract";
import { useAsked } from "../data";
import { Card, excerpt, LabelName, SampleText, SetTag, Shown } from "../parts";
import { Lines } from "../parts/lines";
import { to } from "../route";
import { figure, number, percent, t, told } from "../words";
import { VerdictButtons } from "./verdicts";

export function Sample({ dataset, id }: { dataset: Dataset; id: string }) {
  const asked = useAsked<Explanation>(`/v1/datasets/${part(dataset.name)}/samples/${part(id)}/explanation`);
  return (
    <Shown {...asked}>
      {(sample) => (
        <div class="grid">
          <Card title={sample.id} wide side={<SetTag set={sample.set} />}>
            <SampleText text={sample.text} pair={sample.text_pair} whole />
            <p>
              {t("label")}: <LabelName label={sample.label} />
              {sample.suggested_label !== null && sample.suggested_label !== sample.label && (
                <>
                  {" · "}
                  {t("suggested")}: <LabelName label={sample.suggested_label} />
                </>
              )}
            </p>
            <VerdictButtons dataset={dataset} sample={sample} onDone={asked.again} />
          </Card>
          <Why sample={sample} />
          {sample.trajectory.length > 0 && <Trajectory sample={sample} />}
          <Others
            title={t("neighbours")}
            measure={t("similarity")}
            dataset={dataset.name}
            rows={sample.neighbours.map((one) => ({ ...one, value: one.similarity }))}
          />
          <Others
            title={t("helps")}
            measure={t("alignment")}
            dataset={dataset.name}
            rows={sample.helps.map((one) => ({ ...one, value: one.alignment }))}
          />
          <Others
            title={t("hurts")}
            measure={t("alignment")}
            dataset={dataset.name}
            rows={sample.hurts.map((one) => ({ ...one, value: one.alignment }))}
          />
        </div>
      )}
    </Shown>
  );
}

function Why({ sample }: { sample: Explanation }) {
  const { rank } = sample;
  return (
    <Card title={t("why_here")}>
      <p>
        <SetTag set={sample.set} /> <strong>{told("reason", sample.reason)}</strong>
      </p>
      <p>{sample.rule}</p>
      <dl class="pairs">
        <dt>{t("importance")}</dt>
        <dd>{figure(sample.importance)}</dd>
        {rank && (
          <>
            <dt>{t("rank")}</dt>
            <dd>
              {t("rank_of", {
                rank: number(rank.overall),
                of: number(rank.of),
                within: number(rank.within_label),
                of_label: number(rank.of_label),
              })}
            </dd>
          </>
        )}
        <dt>{t("noise_probability")}</dt>
        <dd>{sample.noise_probability === null ? "–" : percent(sample.noise_probability)}</dd>
        {sample.model_label !== null && (
          <>
            <dt>{t("model_says")}</dt>
            <dd>
              <LabelName label={sample.model_label} />{" "}
              {sample.model_probability !== null && percent(sample.model_probability)}
            </dd>
          </>
        )}
        {sample.review && (
          <>
            <dt>{t("review")}</dt>
            <dd>{told("verdict", sample.review)}</dd>
          </>
        )}
      </dl>
    </Card>
  );
}

function Trajectory({ sample }: { sample: Explanation }) {
  const { trajectory } = sample;
  const x = useMemo(() => trajectory.map((_, visit) => visit + 1), [trajectory]);
  const norms = useMemo(
    () => [{ name: t("grad_norm"), colour: "core", values: trajectory.map((visit) => visit.grad_norm) }],
    [trajectory],
  );
  const sureness = useMemo(
    () => [
      { name: t("confidence"), colour: "accent", values: trajectory.map((visit) => visit.confidence) },
      { name: t("loss"), colour: "noise", values: trajectory.map((visit) => visit.loss) },
    ],
    [trajectory],
  );
  const said = (lines: { name: string; values: number[] }[]) =>
    lines.map((line) => `${line.name}: ${line.values.map(figure).join(", ")}`).join("; ");
  return (
    <Card title={t("trajectory")}>
      <Lines x={x} xName={t("epoch")} lines={norms} said={said(norms)} />
      <Lines x={x} xName={t("epoch")} lines={sureness} said={said(sureness)} />
    </Card>
  );
}

function Others(props: { title: string; measure: string; dataset: string; rows: (Other & { value: number })[] }) {
  if (props.rows.length === 0) return null;
  return (
    <Card title={props.title} wide side={<span class="quiet">{props.measure}</span>}>
      <ol class="samples three">
        {props.rows.map((row) => (
          <li>
            <a href={to("d", props.dataset, "s", row.id)}>
              <SampleText text={excerpt(row.text, 160)} />
            </a>
            <LabelName label={row.label} />
            <span class="number">{figure(row.value)}</span>
          </li>
        ))}
      </ol>
    </Card>
  );
}
