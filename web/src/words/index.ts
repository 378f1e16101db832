// English and Chinese. Numbers and times go by the language as well.

import { en, type Word, type Words } from "./en";
import { zh } from "./zh";

const LANGUAGES: Record<string, Words> = { en, zh };
const STORED = "gradsift.language";
const asked = localStorage.getItem(STORED) ?? navigator.language.slice(0, 2);
export const language = asked in LANGUAGES ? asked : "en";
const words: Words = LANGUAGES[language] ?? en;
document.documentElement.lang = language;

export type { Word };

export function t(word: Word, values: Record<string, string | number> = {}): string {
  return words[word].replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

/** A word whose name is put together; what has none is shown as it is. */
export function told(group: string, name: string): string {
  const word = `${group}_${name}`;
  return word in words ? words[word as Word] : name;
}

export function switchLanguage(): void {
  localStorage.setItem(STORED, language === "zh" ? "en" : "zh");
  location.reload();
}

const whole = new Intl.NumberFormat(language);
const short = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 });
const share = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 });
const moment = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });

export const number = (value: number): string => whole.format(value);
export const percent = (value: number): string => share.format(value);

export function figure(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : short.format(value);
}

export function time(text: string | null): string {
  return text === null ? "–" : moment.format(new Date(text));
}

export function duration(seconds: number): string {
  const rest = Math.round(seconds);
  if (rest < 60) return `${rest} s`;
  if (rest < 3600) return `${Math.floor(rest / 60)} min ${String(rest % 60).padStart(2, "0")} s`;
  return `${Math.floor(rest / 3600)} h ${String(Math.floor((rest % 3600) / 60)).padStart(2, "0")} min`;
}
