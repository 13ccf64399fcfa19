"""A small authority for tests, made with the openssl command."""

import os
import shutil
import ssl
import subprocess
import tempfile


class Authority:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='pki-')
        with open(self.path('ca.conf'), 'w', encoding='ascii') as f:
            f.write('[ca]\ndefault_ca = d\n[d]\ndatabase = index\nserial = serial\n'
                    'crlnumber = number\ndefault_md = sha256\ndefault_crl_days = 30\n'
                    'certificate = ca.pem\nprivate_key = ca.key\n')
        for name, text in ('index', ''), ('number', '01\n'):
            with open(self.path(name), 'w', encoding='ascii') as f:
                f.write(text)
        self._run('req', '-x509', *self._new_key('ca'), '-days', '30', '-subj', '/CN=Test CA',
                  '-out', 'ca.pem')
        self.ca = self.path('ca.pem')

    def path(self, name):
        return os.path.join(self.dir, name)

    def _run(self, *args):
        done = subprocess.run(['openssl', *args], cwd=self.dir, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f'openssl {" ".join(args)}: {done.stderr}')

    @staticmethod
    def _new_key(name):
        return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout',
                f'{name}.key']

    def issue(self, name, cn=None, san=None, days=10):
        """Files name.pem and name.key; {'cert': ..., 'key': ...} as a listener has it."""
        self._run('req', *self._new_key(name), '-subj', f'/O=Pigeon/CN={cn or name}', '-out',
                  f'{name}.csr')
        with open(self.path('ext'), 'w', encoding='utf-8') as f:
            f.write(f'subjectAltName={san}\n' if san else 'keyUsage=digitalSignature\n')
        self._run('x509', '-req', '-in', f'{name}.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key',
                  '-CAcreateserial', '-days', str(days), '-extfile', 'ext', '-out', f'{name}.pem')
        return {'cert': self.path(f'{name}.pem'), 'key': self.path(f'{name}.key')}

    def revoke(self, name=None):
        """A new crl.pem; its path."""
        if name:
            self._run('ca', '-config', 'ca.conf', '-revoke', f'{name}.pem')
        self._run('ca', '-config', 'ca.conf', '-gencrl', '-out', 'crl.pem')
        return self.path('crl.pem')

    def context(self, client=None, version=None):
        """What a client trusts, and what it shows."""
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.load_verify_locations(self.ca)
        if client:
            c.load_cert_chain(client['cert'], client['key'])
        if version:
            c.minimum_version = c.maximum_version = version
        return c

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)
