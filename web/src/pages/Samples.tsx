import { useState } from "preact/hooks";
import { get, part, type Problem, withQuery } from "../api";
import { type Dataset, type Page, type Sample, SETS } from "../contract";
import { asProblem, useAsked } from "../data";
import { Card, Choice, excerpt, Failure, Field, LabelName, SampleText, SetTag, Shown } from "../parts";
import { to } from "../route";
import { figure, percent, t, told } from "../words";

const PAGE = 50;

export function Samples({ dataset }: { dataset: Dataset }) {
  const [filter, setFilter] = useState({ set: "", split: "", label: "", q: "", order: "-importance" });
  const [typed, setTyped] = useState("");
  const change = (name: keyof typeof filter) => (value: string) => setFilter((before) => ({ ...before, [name]: value }));
  const scored = dataset.set_version !== null;
  const path = withQuery(`/v1/datasets/${part(dataset.name)}/samples`, {
    ...filter,
    order: scored ? filter.order : "ordinal",
    limit: PAGE,
  });
  const options = (values: string[], group: string): [string, string][] => [
    ["", t("all")],
    ...values.map((value): [string, string] => [value, told(group, value)]),
  ];
  const labels = (dataset.labels ?? dataset.label_counts.map((one) => one.label)).slice(0, 200).map(String);
  return (
    <Card wide>
      <form
        class="filters"
        onSubmit={(event) => {
          event.preventDefault();
          change("q")(typed);
        }}
      >
        <Field label={t("search")}>
          <input type="search" value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
        </Field>
        <Choice label={t("set")} value={filter.set} options={options(SETS, "set")} onChange={change("set")} />
        <Choice
          label={t("split")}
          value={filter.split}
          options={options(["train", "validation", "test"], "split")}
          onChange={change("split")}
        />
        <Choice label={t("label")} value={filter.label} options={options(labels, "")} onChange={change("label")} />
        {scored && (
          <Choice
            label={t("order")}
            value={filter.order}
            options={[
              ["-importance", t("by_importance")],
              ["importance", t("by_least")],
              ["ordinal", t("by_arrival")],
            ]}
            onChange={change("order")}
          />
        )}
      </form>
      <Pages key={path} first={path} dataset={dataset.name} />
    </Card>
  );
}

function Pages({ first, dataset }: { first: string; dataset: string }) {
  const asked = useAsked<Page<Sample>>(first);
  const [further, setFurther] = useState<Page<Sample>[]>([]);
  const [problem, setProblem] = useState<Problem | null>(null);
  return (
    <Shown {...asked} problem={asked.problem ?? null}>
      {(page) => {
        const pages = [page, ...further];
        const next = pages.at(-1)!.next_cursor;
        const more = () =>
          get<Page<Sample>>(`${first}&cursor=${part(next!)}`).then(
            (found) => setFurther((before) => [...before, found]),
            (error) => setProblem(asProblem(error)),
          );
        const items = pages.flatMap((one) => one.items);
        return (
          <>
            {items.length === 0 && <p class="quiet">{t("nothing")}</p>}
            <ol class="samples">
              {items.map((item) => (
                <li key={item.id}>
                  <a href={to("d", dataset, "s", item.id)}>
                    <SampleText text={excerpt(item.text, 200)} pair={item.text_pair && excerpt(item.text_pair, 100)} />
                  </a>
                  <LabelName label={item.label} />
                  <SetTag set={item.membership.set} />
                  <span class="number">
                    {figure(item.score.importance)}{" "}
                    {item.score.noise_probability !== null && (
                      <small class="quiet">{percent(item.score.noise_probability)}</small>
                    )}
                  </span>
                </li>
              ))}
            </ol>
            {problem && <Failure problem={problem} />}
            {next && (
              <button type="button" onClick={more}>
                {t("more")}
              </button>
            )}
          </>
        );
      }}
    </Shown>
  );
}
