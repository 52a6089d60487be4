// Asks for decisions and reports what visitors do from JavaScript, with kafkajs and no library of ours:
//
//     npm install kafkajs
//     node shop.js 127.0.0.1:9092 "" 200      # brokers, the service's `prefix`, how many visits
//
// Visitors click on boots nine times in ten and on a hat one time in ten; the printed `pmf` shows that it is learned.
// The topic for replies must be there, and match the service's `reply_topics`; it is created here.
// The contract: docs/contract.md. The placement is called `front`, its streams `clicks` and `leaves`, which both end the
// waiting (`close_on`), as in the settings of a fresh `bowerbird up`.
const { randomUUID } = require('crypto');
const { Kafka, logLevel } = require('kafkajs');

const [brokers = '127.0.0.1:9092', prefix = '', visits = '1'] = process.argv.slice(2);
const kafka = new Kafka({ clientId: 'shop', brokers: brokers.split(','), logLevel: logLevel.ERROR });
const producer = kafka.producer();
// A group of its own: every process of the shop reads every reply, and takes those that it waits for.
const consumer = kafka.consumer({ groupId: `shop-${randomUUID()}`, maxWaitTimeInMs: 50 });
const replyTopic = `${prefix}replies.shop-js`;
const waiting = new Map();

async function open() {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: replyTopic, numPartitions: 1 }], waitForLeaders: true });
  await admin.disconnect();
  await producer.connect();
  await consumer.connect();
  await consumer.subscribe({ topic: replyTopic, fromBeginning: true });
  const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve));
  await consumer.run({
    eachMessage: async ({ message }) => {
      const take = waiting.get(String(message.headers['correlation-id']));
      if (take) take(JSON.parse(message.value));
    },
  });
  await joined;
}

// Resolves to the decision, or to { chosen: fallback } when none came in time.
async function decide(placement, actions, context, fallback, timeoutMs = 2000) {
  const eventId = randomUUID();
  const correlationId = randomUUID();
  const request = { v: 1, event_id: eventId, placement, context, actions };
  let timer;
  const reply = new Promise((resolve) => {
    waiting.set(correlationId, resolve);
    timer = setTimeout(() => resolve({ error: { code: 'timeout' } }), timeoutMs);
  });
  await producer.send({
    topic: `${prefix}decision-requests`,
    messages: [
      {
        key: eventId,
        value: JSON.stringify(request),
        headers: { 'reply-topic': replyTopic, 'correlation-id': correlationId, 'expires-ms': String(timeoutMs / 2) },
      },
    ],
  });
  const answer = await reply;
  clearTimeout(timer);
  waiting.delete(correlationId);
  return answer.error ? { chosen: fallback, error: answer.error } : answer;
}

// Several events of one stream go in one message, as an array.
async function send(stream, events) {
  const records = events.map((event) => ({ v: 1, id: randomUUID(), ...event }));
  await producer.send({ topic: `${prefix}${stream}`, messages: [{ value: JSON.stringify(records) }] });
}

async function main() {
  await open();
  const actions = [{ id: 'boots' }, { id: 'hat' }];
  for (let visit = 0; visit < Number(visits); visit += 1) {
    const answer = await decide('front', actions, { user: { age: 34 } }, 'hat');
    const clicked = Math.random() < (answer.chosen === 'boots' ? 0.9 : 0.1);
    console.log(JSON.stringify({ clicked, ...answer }));
    if (answer.event_id) await send(clicked ? 'clicks' : 'leaves', [{ event_id: answer.event_id }]);
  }
  await consumer.disconnect();
  await producer.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
