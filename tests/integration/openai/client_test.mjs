// The official client against a running gateway. Usage: node client_test.mjs BASE_URL PICTURE
import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import test from "node:test";
import OpenAI, {APIError, BadRequestError, NotFoundError} from "openai";

const [baseURL, picture] = process.argv.slice(2);
const client = new OpenAI({baseURL, apiKey: "none", maxRetries: 0});
const url = "data:image/png;base64," + readFileSync(picture).toString("base64");
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
});

test("abort", async () => {
  const stream = await client.chat.completions.create({...body, max_tokens: 2000, stream: true});
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta.content) break;  // closes the connection
  }
  assert.ok(!(stream instanceof APIError));
});
