"use strict";

// Shows /openapi.json, which the server makes, as a page; nothing is loaded from elsewhere.

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

function resolved(schema, all) {
  return schema && schema.$ref ? all[schema.$ref.split("/").pop()] : schema;
}

function typeOf(schema, all) {
  const found = resolved(schema, all) || {};
  if (found.type === "array") return `list of ${typeOf(found.items, all)}`;
  if (found.type === "object" && found.properties) {
    return `{ ${Object.keys(found.properties).join(", ")} }`;
  }
  return found.format || found.type || "";
}

function fields(schema, all) {
  const table = element("table");
  for (const [name, part] of Object.entries(schema.properties || {})) {
    const found = resolved(part, all);
    const row = element("tr");
    const key = element("td");
    key.append(element("code", name));
    const bounds = found.maximum !== undefined ? ` ${found.minimum} to ${found.maximum}` : "";
    const needed = (schema.required || []).includes(name) ? ", required" : "";
    row.append(key, element("td", `${typeOf(part, all)}${bounds}${needed}`));
    row.append(element("td", found.description || ""));
    table.append(row);
  }
  return table;
}

function section(path, method, operation, all) {
  const made = element("section");
  made.append(element("h2", `${method.toUpperCase()} ${path}`), element("p", operation.summary));
  for (const [type, body] of Object.entries((operation.requestBody || {}).content || {})) {
    made.append(element("h3", `asks ${type}`), fields(resolved(body.schema, all), all));
  }
  for (const [status, answer] of Object.entries(operation.responses)) {
    made.append(element("h3", `${status}: ${answer.description}`));
    const schema = resolved(((answer.content || {})["application/json"] || {}).schema, all);
    if (status === "200" && schema && schema.properties) made.append(fields(schema, all));
  }
  return made;
}

async function show() {
  const described = await (await fetch("/openapi.json")).json();
  const all = described.components.schemas;
  const here = location.origin;
  document.getElementById("about").textContent = described.info.description;
  document.getElementById("examples").textContent =
    `curl -F image=@a.png -F image=@b.png ${here}/v1/predict\n` +
    `(printf '{"image": "'; base64 < a.png | tr -d '\\n'; printf '"}') | ` +
    `curl -H 'Content-Type: application/json' -d @- ${here}/v1/predict`;
  for (const [path, methods] of Object.entries(described.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      document.getElementById("paths").append(section(path, method, operation, all));
    }
  }
}

show();
