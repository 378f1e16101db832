import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { type Access, AccessContext } from "./access";
import { get, hasKey, keepKey, onKeyWanted } from "./api";
import { Card, Field } from "./parts";
import { DatasetPage } from "./pages/DatasetPage";
import { Datasets } from "./pages/Datasets";
import { Job } from "./pages/Job";
import { Jobs } from "./pages/Jobs";
import { to, usePlace } from "./route";
import { switchLanguage, t } from "./words";

function App() {
  const { path } = usePlace();
  const [wanted, setWanted] = useState(false);
  const [visit, setVisit] = useState(0);
  useEffect(() => onKeyWanted(() => setWanted(true)), []);
  useEffect(() => scrollTo(0, 0), [path.join("/")]);
  const [access, setAccess] = useState<Access | null>(null);
  useEffect(() => {
    get<Access>("/v1/access").then(setAccess, () => setAccess(null));  // whatever is asked next says why
  }, [visit]);
  const use = (key: string) => {
    keepKey(key);
    setWanted(false);
    setVisit((before) => before + 1);
  };
  return (
    <>
      <a class="skip" href="#content">
        {t("skip")}
      </a>
      <header class="top">
        <a class="brand" href={to()}>
          GradSift
        </a>
        <nav>
          <a class={path[0] !== "jobs" ? "here" : ""} href={to()}>
            {t("datasets")}
          </a>
          <a class={path[0] === "jobs" ? "here" : ""} href={to("jobs")}>
            {t("jobs")}
          </a>
        </nav>
        <span class="spread" />
        {hasKey() && access?.name && <span class="quiet">{access.name}</span>}
        {hasKey() && (
          <button type="button" class="link" onClick={() => use("")}>
            {t("key_forget")}
          </button>
        )}
        <button type="button" class="link" onClick={switchLanguage}>
          {t("language")}
        </button>
      </header>
      <main id="content" tabIndex={-1}>
        <AccessContext.Provider value={access}>
          {wanted ? <KeyWanted onKey={use} /> : <Content key={visit} path={path} />}
        </AccessContext.Provider>
      </main>
    </>
  );
}

function Content({ path }: { path: string[] }) {
  const [first, second, ...further] = path;
  if (first === "d" && second !== undefined) return <DatasetPage key={second} name={second} path={further} />;
  if (first === "jobs" && second !== undefined) return <Job key={second} id={second} />;
  if (first === "jobs") return <Jobs />;
  return <Datasets />;
}

function KeyWanted({ onKey }: { onKey: (key: string) => void }) {
  const [key, setKey] = useState("");
  return (
    <Card title={t("key_wanted")}>
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          onKey(key.trim());
        }}
      >
        <Field label={t("key")} hint={t("key_explained")}>
          <input
            type="password"
            required
            autofocus
            autocomplete="off"
            value={key}
            onInput={(event) => setKey(event.currentTarget.value)}
          />
        </Field>
        <div class="buttons">
          <button type="submit" class="main">
            {t("key_use")}
          </button>
        </div>
      </form>
    </Card>
  );
}

render(<App />, document.getElementById("app")!);
