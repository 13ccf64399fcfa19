"""Listeners of every transport for other people's clients."""

import shutil
import unittest

from client_case import ClientCase
import pki
from broker import LISTENER


class TransportCase(ClientCase):
    """transport: mqtts, ws or wss; the others' names are the URL schemes."""

    transport = None
    web = {'protocol': 'websocket', 'path': '/mqtt'}

    @classmethod
    def setUpClass(cls):
        if not shutil.which('openssl'):
            raise unittest.SkipTest('no openssl command')
        cls.pki = pki.Authority()
        cls.addClassCleanup(cls.pki.close)
        files = cls.pki.issue('server', san='DNS:localhost,IP:127.0.0.1')
        tls = {'tls': files}
        more = {'mqtts': tls, 'ws': cls.web, 'wss': {**tls, **cls.web}}[cls.transport]
        cls.options = {**ClientCase.options, 'listeners': [{**LISTENER, **more}]}
        super().setUpClass()

    @property
    def url(self):
        return f'{self.transport}://localhost:{self.port}/mqtt'
