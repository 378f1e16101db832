import { useEffect, useMemo, useState } from "preact/hooks";
import { bytes, part, type Problem, send, withQuery } from "../api";
import { type Dataset, type Label, type SetName, SETS } from "../contract";
import { asProblem } from "../data";
import { ALL, countBins, countInside, type Filter, importanceBins, mostImportant, passing } from "../map/choosing";
import { type DataMap, readMap } from "../map/columns";
import { Histogram } from "../map/Histogram";
import { WHOLE, type Window } from "../map/raster";
import { BY_CODE, Scatter } from "../map/Scatter";
import { Card, Choice, excerpt, Failure, Field, LabelName, SampleText, SetTag, Shown } from "../parts";
import { go, to } from "../route";
import { number, t, told } from "../words";

const BINS = 60;
const LISTED = 20;
const MOST_LISTED = 1_000;

interface Point {
  ordinal: number;
  id: string;
  text: string;
  label: Label | null;
  set: SetName;
}

export function MapPage({ dataset }: { dataset: Dataset }) {
  const base = `/v1/datasets/${part(dataset.name)}/map`;
  const [map, setMap] = useState<DataMap | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    bytes(base).then(
      (body) => setMap(readMap(body)),
      (error) => setProblem(asProblem(error)),
    );
  }, [base]);
  return (
    <Shown data={map} problem={problem}>
      {(drawn) =>
        drawn.count === 0 ? <p class="empty">{t("no_sets")}</p> : <Drawn map={drawn} dataset={dataset} base={base} />
      }
    </Shown>
  );
}

function Drawn({ map, dataset, base }: { map: DataMap; dataset: Dataset; base: string }) {
  const [filter, setFilter] = useState<Filter>(ALL);
  const [box, setBox] = useState<Window | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const passes = useMemo(() => passing(map, filter), [map, filter]);
  const bins = useMemo(() => importanceBins(map, BINS), [map]);
  const binned = useMemo(
    () => countBins(map, passing(map, { ...filter, importance: null }), bins),
    [map, bins, filter.label, filter.ordinals, filter.sets],
  );
  const counts = useMemo(() => countInside(map, passes, box ?? WHOLE), [map, passes, box]);
  const change = (changed: Partial<Filter>) => setFilter((before) => ({ ...before, ...changed }));
  const search = async (q: string, group: string) => {
    setProblem(null);
    if (!q && !group) return change({ ordinals: null });
    try {
      change({ ordinals: new Uint32Array(await bytes(withQuery(`${base}/select`, { q, group }))) });
    } catch (error) {
      setProblem(asProblem(error));
    }
  };
  const open = (at: number) =>
    pointsOf(base, [map.ordinal[at]!]).then(
      ([point]) => point && go("d", dataset.name, "s", point.id),
      (error) => setProblem(asProblem(error)),
    );
  return (
    <div class="map-page">
      <Card wide>
        <Filters map={map} filter={filter} onChange={change} onSearch={search} />
        {problem && <Failure problem={problem} />}
        <Scatter map={map} passes={passes} box={box} onBrush={setBox} onOpen={open} />
        <p class="quiet">{t("map_hint")}</p>
        <Histogram edges={bins.edges} counts={binned} range={filter.importance} onRange={(importance) => change({ importance })} />
      </Card>
      <Card title={t("chosen", { count: number(counts.reduce((sum, one) => sum + one, 0)) })} wide>
        <p>
          {BY_CODE.map((set, code) =>
            counts[code] ? (
              <>
                <SetTag set={set} /> {number(counts[code]!)}{" "}
              </>
            ) : null,
          )}
        </p>
        <Chosen map={map} passes={passes} box={box} base={base} dataset={dataset.name} />
      </Card>
    </div>
  );
}

function Filters(props: {
  map: DataMap;
  filter: Filter;
  onChange: (changed: Partial<Filter>) => void;
  onSearch: (q: string, group: string) => void;
}) {
  const { map, filter } = props;
  const [q, setQ] = useState("");
  const [group, setGroup] = useState("");
  return (
    <form
      class="filters"
      onSubmit={(event) => {
        event.preventDefault();
        props.onSearch(q, group);
      }}
    >
      <fieldset class="sets">
        <legend>{t("set")}</legend>
        {SETS.map((set) => [set, BY_CODE.indexOf(set)] as const).map(([set, code]) => (
          <label>
            <input
              type="checkbox"
              checked={filter.sets[code]!}
              onChange={(event) => {
                const sets = [...filter.sets] as Filter["sets"];
                sets[code] = event.currentTarget.checked;
                props.onChange({ sets });
              }}
            />
            <span class={`set ${set}`}>{told("set", set)}</span>
          </label>
        ))}
      </fieldset>
      <Choice
        label={t("label")}
        value={String(filter.label)}
        options={[
          ["-1", t("all")],
          ...map.labels.slice(0, 500).map((label, at): [string, string] => [String(at), String(label)]),
        ]}
        onChange={(value) => props.onChange({ label: Number(value) })}
      />
      <Field label={t("search")}>
        <input type="search" value={q} onInput={(event) => setQ(event.currentTarget.value)} />
      </Field>
      <Field label={t("field_group")}>
        <input type="search" value={group} onInput={(event) => setGroup(event.currentTarget.value)} />
      </Field>
      <button type="submit">{t("find")}</button>
    </form>
  );
}

/** The most important samples of the selection. */
function Chosen(props: { map: DataMap; passes: Uint8Array; box: Window | null; base: string; dataset: string }) {
  const { map, passes, box, base } = props;
  const [points, setPoints] = useState<Point[] | null>(null);
  const [most, setMost] = useState(LISTED);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    let left = false;
    const timer = setTimeout(() => {
      const ordinals = mostImportant(map, passes, box ?? WHOLE, most).map((at) => map.ordinal[at]!);
      pointsOf(base, ordinals).then(
        (found) => left || setPoints(found),
        (error) => left || setProblem(asProblem(error)),
      );
    }, 200);
    return () => {
      left = true;
      clearTimeout(timer);
    };
  }, [map, passes, box, base, most]);
  return (
    <Shown data={points} problem={problem}>
      {(found) => (
        <>
        <ol class="samples three">
          {found.map((point) => (
            <li key={point.ordinal}>
              <a href={to("d", props.dataset, "s", point.id)}>
                <SampleText text={excerpt(point.text, 180)} />
              </a>
              <LabelName label={point.label} />
              <SetTag set={point.set} />
            </li>
          ))}
        </ol>
        {found.length === most && most < MOST_LISTED && (
          <button type="button" onClick={() => setMost(Math.min(MOST_LISTED, 2 * most))}>
            {t("more")}
          </button>
        )}
        </>
      )}
    </Shown>
  );
}

async function pointsOf(base: string, ordinals: number[]): Promise<Point[]> {
  if (ordinals.length === 0) return [];
  return (await send<{ items: Point[] }>("POST", `${base}/ids`, { ordinals })).items;
}
