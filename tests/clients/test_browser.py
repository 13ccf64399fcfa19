"""MQTT.js in a headless Chromium, over WebSocket and secure WebSocket.

PIGEON_TEST_MQTTJS names the browser's bundle (dist/mqtt.min.js of npm's package mqtt); the page and the
bundle come from a web server of this test, whose origin the listener allows.
"""

import http.server
import json
import os
import shutil
import tempfile
import threading
import unittest

from transport_case import TransportCase

CHROMIUM = shutil.which('chromium')
BUNDLE = os.environ.get('PIGEON_TEST_MQTTJS', '')
MISSING = (not CHROMIUM and 'not installed: chromium') or \
          (not os.path.exists(BUNDLE) and 'not there: MQTT.js for browsers')
PAGE = '''<!doctype html><script src="/mqtt.min.js"></script><script>
const say = what => fetch('/said', { method: 'POST', body: JSON.stringify(what) })
const client = mqtt.connect(URL_HERE, { protocolVersion: VERSION_HERE, reconnectPeriod: 0 })
const got = []
client.on('error', e => say({ error: String(e) }))
client.on('close', () => say({ error: 'closed' }))
client.on('message', (t, payload) => {
  got.push([t, payload.length < 100 ? payload.toString() : payload.length])
  if (got.length === 3) say({ got })
})
client.on('connect', () => client.subscribe('TOPIC_HERE', { qos: 2 }, () => {
  client.publish('TOPIC_HERE', 'at 1', { qos: 1 })
  client.publish('TOPIC_HERE', 'at 2', { qos: 2 })
  client.publish('TOPIC_HERE', 'x'.repeat(300000), { qos: 1 })
}))
</script>'''


class Site(http.server.ThreadingHTTPServer):
    """What the browser sees, and what it says."""

    def __init__(self, page):
        super().__init__(('127.0.0.1', 0), Page)
        self.page, self.said = page, []


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/mqtt.min.js':
            with open(BUNDLE, 'rb') as f:
                self.answer(f.read(), 'text/javascript')
        else:
            self.answer(self.server.page.encode(), 'text/html')

    def do_POST(self):
        self.server.said.append(json.loads(self.rfile.read(int(self.headers['Content-Length']))))
        self.answer(b'', 'text/plain')

    def answer(self, body, kind):
        self.send_response(200)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Browser:

    def visit(self, version):
        page = PAGE.replace('URL_HERE', json.dumps(self.url)).replace(
            'VERSION_HERE', str(version)).replace('TOPIC_HERE', self.topic(str(version)))
        site = Site(page)
        self.addCleanup(site.server_close)
        threading.Thread(target=site.serve_forever, daemon=True).start()
        self.addCleanup(site.shutdown)
        home = tempfile.mkdtemp(prefix='chromium-')
        self.addCleanup(shutil.rmtree, home, True)
        self.start(CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run',
                   '--disable-dev-shm-usage', '--ignore-certificate-errors',
                   f'--user-data-dir={home}', '--remote-debugging-port=0',
                   f'http://localhost:{site.server_port}/')
        self.until(lambda: site.said, 'a word of the page')
        return site.said[0]

    def is_served(self, version):
        topic, said = self.topic(str(version)), self.visit(version)
        self.assertEqual(said.get('error'), None)
        # MQTT.js shows a message of QoS 2 when its exchange is over.
        self.assertCountEqual(said['got'],
                              [[topic, 'at 1'], [topic, 'at 2'], [topic, 300000]])

    def test_connects_publishes_receives(self):
        for version in (4, 5):
            self.is_served(version)


@unittest.skipIf(MISSING, MISSING)
class Plain(Browser, TransportCase):
    transport = 'ws'


@unittest.skipIf(MISSING, MISSING)
class ForeignPage(Browser, TransportCase):
    transport = 'ws'
    web = {**TransportCase.web, 'origins': ['https://app.example']}

    def test_connects_publishes_receives(self):
        self.assertIn('error', self.visit(5))
        self.logged('connection_refused')


@unittest.skipIf(MISSING, MISSING)
class Secure(Browser, TransportCase):
    transport = 'wss'


if __name__ == '__main__':
    unittest.main()
