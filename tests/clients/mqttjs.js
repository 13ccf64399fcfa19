// One scenario with MQTT.js: node mqttjs.js PORT|URL VERSION SCENARIO NAME [CA]. Ends with 0 when all is
// well.
'use strict'
const assert = require('assert')
const fs = require('fs')
const mqtt = require('mqtt')

const [port, version, scenario, name, ca] = process.argv.slice(2)
const topic = `js/${name}/${scenario}`
const clients = []

function open (suffix, options = {}) {
  const where = port.includes(':') ? port : `mqtt://127.0.0.1:${port}`
  const client = mqtt.connect(where, {
    ...(ca ? { ca: fs.readFileSync(ca) } : {}),
    protocolVersion: Number(version),
    protocolId: version === '3' ? 'MQIsdp' : 'MQTT',
    clientId: suffix + name,
    reconnectPeriod: 0,
    ...options
  })
  client.got = []
  client.waiting = []
  client.on('message', (t, payload, packet) => {
    const m = { topic: t, payload: payload.toString(), packet }
    if (client.waiting.length) client.waiting.shift()(m)
    else client.got.push(m)
  })
  clients.push(client)
  return new Promise((resolve, reject) => {
    client.once('connect', connack => resolve(Object.assign(client, { connack })))
    client.once('error', reject)
  })
}

const message = client => client.got.length
  ? Promise.resolve(client.got.shift())
  : new Promise(resolve => client.waiting.push(resolve))
const call = (client, method, ...args) => new Promise((resolve, reject) =>
  client[method](...args, (err, value) => err ? reject(err) : resolve(value)))
const subscribe = (client, t, options) => call(client, 'subscribe', t, options)
const publish = (client, t, payload, options) => call(client, 'publish', t, payload, options)
const leave = client => call(client, 'end', false, {})
const durable = { clean: false, properties: { sessionExpiryInterval: 1000 } }

const scenarios = {
  async qos () {
    const sub = await open('s')
    const pub = await open('p')
    await subscribe(sub, topic, { qos: 2 })
    for (const qos of [0, 1, 2]) {
      await publish(pub, topic, `at ${qos}`, { qos })
      const m = await message(sub)
      assert.deepStrictEqual([m.topic, m.payload, m.packet.qos, m.packet.retain],
        [topic, `at ${qos}`, qos, false])
    }
  },

  async order () {
    const sub = await open('s')
    const pub = await open('p')
    await subscribe(sub, `${topic}/+`, { qos: 1 })
    const sent = []
    for (let i = 0; i < 500; i++) sent.push(publish(pub, `${topic}/x`, String(i), { qos: 1 }))
    for (let i = 0; i < 500; i++) assert.strictEqual((await message(sub)).payload, String(i))
    await Promise.all(sent)
  },

  async retained () {
    const pub = await open('p')
    await publish(pub, topic, 'kept', { qos: 1, retain: true })
    const sub = await open('s')
    await subscribe(sub, topic, { qos: 1 })
    const m = await message(sub)
    assert.deepStrictEqual([m.payload, m.packet.retain], ['kept', true])
    await publish(pub, topic, '', { qos: 1, retain: true })
    const late = await open('l')
    await subscribe(late, topic, { qos: 1 })
    await publish(pub, topic, 'live', { qos: 1 })
    assert.strictEqual((await message(late)).payload, 'live')
  },

  async will () {
    const watcher = await open('w')
    await subscribe(watcher, `${topic}/#`, { qos: 1 })
    const will = t => ({ will: { topic: `${topic}/${t}`, payload: t, qos: 1 } })
    await leave(await open('a', will('left')))
    const lost = await open('b', will('lost'))
    lost.stream.destroy()
    assert.strictEqual((await message(watcher)).payload, 'lost')
  },

  async session () {
    const first = await open('s', durable)
    assert.strictEqual(first.connack.sessionPresent, false)
    await subscribe(first, topic, { qos: 2 })
    await leave(first)
    const pub = await open('p')
    for (let i = 0; i < 10; i++) await publish(pub, topic, String(i), { qos: 2 })
    const again = await open('s', durable)
    assert.strictEqual(again.connack.sessionPresent, version !== '3')
    for (let i = 0; i < 10; i++) assert.strictEqual((await message(again)).payload, String(i))
  },

  async properties () {
    const sub = await open('s')
    const pub = await open('p')
    await subscribe(sub, topic, { qos: 1 })
    const properties = {
      contentType: 'text/plain',
      responseTopic: 'answers',
      correlationData: Buffer.from('c1'),
      userProperties: { k: ['v', 'w'], n: '1' }
    }
    await publish(pub, topic, 'x', { qos: 1, properties })
    const got = (await message(sub)).packet.properties
    for (const key of Object.keys(properties)) {
      assert.deepStrictEqual(JSON.stringify(got[key]), JSON.stringify(properties[key]), key)
    }
  }
}

scenarios[scenario]().then(() => {
  clients.forEach(client => client.end(true))
}, err => {
  console.error(err.stack)
  process.exit(1)
})
