// The official client against a running gateway. Usage: node client_test.mjs BASE_URL GOLDEN_FOLDER
import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import test from "node:test";
import OpenAI, {APIError, BadRequestError, NotFoundError} from "openai";

const [baseURL, golden] = process.argv.slice(2);
const client = new OpenAI({baseURL, apiKey: "none", maxRetries: 0});
const dataUrl = (path) =>
    "data:image/png;base64," + readFileSync(`${golden}/${path}`).toString("base64");
const url = dataUrl("images/scene_640x480.png");
const body = {
  model: "tiny_mha", max_tokens: 24, temperature: 0, seed: 1, ignore_eos: true,
  messages: [{role: "user", content: [
    {type: "image_url", image_url: {url, detail: "auto"}},
    {type: "text", text: "Describe this image in detail."}]}],
};

test("models", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.deepEqual(ids, ["tiny_mha"]);
});

test("a whole answer and a streamed one are the same", async () => {
  const whole = await client.chat.completions.create({...body, logprobs: true, top_logprobs: 3});
  assert.equal(whole.object, "chat.completion");
  assert.equal(whole.usage.prompt_tokens, 1045);
  assert.equal(whole.choices[0].finish_reason, "length");
  assert.equal(whole.choices[0].logprobs.content[0].top_logprobs.length, 3);

  const stream = await client.chat.completions.create(
      {...body, stream: true, stream_options: {include_usage: true}});
  let text = "";
  let usage = null;
  for await (const chunk of stream) {
    assert.equal(chunk.object, "chat.completion.chunk");
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.completion_tokens, 24);
});

// A golden conversation as a client sends it.
const conversation = (name) => {
  const golden_case = JSON.parse(readFileSync(`${golden}/cases/${name}.json`));
  const messages = golden_case.conversation.map(({role, content, images = []}) => {
    if (role.includes("Assistant")) return {role: "assistant", content};
    const texts = content.split("<image>");
    const parts = [{type: "text", text: texts[0]}];
    images.forEach((path, i) => parts.push(
        {type: "image_url", image_url: {url: dataUrl(path), policy: "published"}},
        {type: "text", text: texts[i + 1]}));
    return {role: "user", content: parts.filter((part) => part.text !== "")};
  });
  if (messages.at(-1).content === "") messages.pop();
  return {messages, num_tokens: golden_case.num_tokens};
};

for (const name of ["c1_text", "c2_scene_640x480", "c4_two_images", "c6_multi_turn"]) {
  test(`${name}: the published processor's token count, streamed and whole alike`, async () => {
    const {messages, num_tokens} = conversation(name);
    const whole = await client.chat.completions.create({...body, messages});
    assert.equal(whole.usage.prompt_tokens, num_tokens);
    const stream = await client.chat.completions.create({...body, messages, stream: true});
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    assert.equal(text, whole.choices[0].message.content);
  });
}

test("stop, two samples, a system message", async () => {
  const plain = {...body, messages: [{role: "user", content: "Count."}]};
  const whole = (await client.chat.completions.create(plain)).choices[0].message.content;
  const stop = whole.slice(8, 11);
  const cut = await client.chat.completions.create({...plain, stop});
  assert.equal(cut.choices[0].message.content, whole.slice(0, whole.indexOf(stop)));
  assert.equal(cut.choices[0].finish_reason, "stop");

  const warm = {...plain, temperature: 1, seed: 5};
  const two = await client.chat.completions.create({...warm, n: 2});
  const second = await client.chat.completions.create({...warm, seed: 6});
  assert.equal(two.choices[1].message.content, second.choices[0].message.content);
  assert.notEqual(two.choices[0].message.content, two.choices[1].message.content);

  const system = await client.chat.completions.create(
      {...plain, messages: [{role: "system", content: "Be brief."}, ...plain.messages]});
  assert.notEqual(system.choices[0].message.content, whole);
});

test("the client's own accumulation of a stream", async () => {
  const runner = client.beta.chat.completions.stream({...body, n: 2});
  const final = await runner.finalChatCompletion();
  assert.equal(final.choices.length, 2);
  assert.equal(final.choices[0].message.role, "assistant");
});

test("errors arrive as the client's types", async () => {
  await assert.rejects(client.chat.completions.create({...body, model: "other"}), NotFoundError);
  await assert.rejects(client.chat.completions.create({...body, top_logprobs: 21, logprobs: true}),
      (error) => error instanceof BadRequestError && error.param === "top_logprobs");
  await assert.rejects(client.chat.completions.create({...body, messages: [{role: "user", content: [
    {type: "image_url", image_url: {url: "data:image/png;base64,!!!!"}}]}]}), BadRequestError);
});

test("abort", async () => {
  const stream = await client.chat.completions.create({...body, max_tokens: 2000, stream: true});
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta.content) break;  // closes the connection
  }
  assert.ok(!(stream instanceof APIError));
});
