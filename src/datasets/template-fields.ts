import { Template } from "@huggingface/jinja";

/** A node of the parsed template, as @huggingface/jinja makes it. */
interface TemplateNode {
  readonly type: string;
  readonly [field: string]: unknown;
}

const isNode = (value: unknown): value is TemplateNode =>
  typeof value === "object" && value !== null && typeof Reflect.get(value, "type") === "string";

const nodesIn = (value: unknown): readonly TemplateNode[] => {
  if (isNode(value)) return [value];
  if (value instanceof Map) return [...value.values()].flatMap(nodesIn);
  return Array.isArray(value) ? value.flatMap(nodesIn) : [];
};

const isIdentifier = (node: unknown): node is TemplateNode & { readonly value: string } =>
  isNode(node) && node.type === "Identifier";

/** The identifiers below nodes, less names that are not variables: of properties, filters, tests and functions. */
const variablesIn = (value: unknown): readonly string[] =>
  nodesIn(value).flatMap((node): readonly string[] => {
    if (isIdentifier(node)) return [node.value];
    const { type, ...parts } = node;
    if (
      type === "CallExpression" &&
      isNode(parts.callee) &&
      parts.callee.type === "MemberExpression"
    )
      return [...variablesIn(parts.callee.object), ...variablesIn(parts.args)];
    const { object, property } = parts;
    if (
      type === "MemberExpression" &&
      isIdentifier(object) &&
      isIdentifier(property) &&
      parts.computed !== true
    )
      return [`${object.value}.${property.value}`];
    const skipped: readonly string[] =
      {
        MemberExpression: parts.computed === true ? [] : ["property"],
        FilterExpression: isIdentifier(parts.filter) ? ["filter"] : [],
        TestExpression: ["test"],
        CallExpression: isIdentifier(parts.callee) ? ["callee"] : [],
        KeywordArgumentExpression: ["key"],
      }[type] ?? [];
    return Object.entries(parts).flatMap(([name, part]) =>
      skipped.includes(name) ? [] : variablesIn(part),
    );
  });

/** Names that the template gives a value itself, or asks whether they have one. */
const excusedIn = (value: unknown): readonly string[] =>
  nodesIn(value).flatMap((node): readonly string[] => {
    const { type, ...parts } = node;
    const { filter } = parts;
    const defaults = isNode(filter) && filter.type === "CallExpression" ? filter.callee : filter;
    const excusing: readonly unknown[] =
      {
        For: [parts.loopvar],
        Set: [parts.assignee],
        Macro: [parts.name, parts.args],
        If: [parts.test],
        Ternary: [parts.condition],
        SelectExpression: [parts.test],
        TestExpression: [parts.operand],
        FilterExpression:
          isIdentifier(defaults) && defaults.value === "default" ? [parts.operand] : [],
      }[type] ?? [];
    return [...excusing.flatMap(variablesIn), ...Object.values(parts).flatMap(excusedIn)];
  });

/**
 * The variables, and properties as `name.property`, that a Jinja template writes whatever they are: those that it neither sets itself nor asks for with `if`, `is` or
 * `default`. Jinja writes nothing in place of one that is missing.
 *
 * @throws {Error} what is wrong with the template
 */
export const fieldsOfTemplate = (source: string): ReadonlySet<string> => {
  const program: unknown = Reflect.get(new Template(source), "parsed");
  const excused = new Set([...excusedIn(program), "loop", "none", "true", "false"]);
  return new Set(
    variablesIn(program).filter(
      (name) => !excused.has(name) && !excused.has(name.replace(/\..*/, "")),
    ),
  );
};
