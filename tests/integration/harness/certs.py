"""Certificates for tests, made with the openssl command."""

import pathlib
import subprocess


def _openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, f"openssl {arguments[0]} failed: {done.stderr}"


class Certificates:
    """A CA of its own in `folder`, and what it signs: `server()`, `client(user)` give paths."""

    def __init__(self, folder, name="test"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.ca = self.folder / "ca.crt"
        self._ca_key = self.folder / "ca.key"
        self._serial = 1
        self._new_key(self._ca_key)
        _openssl(
            "req",
            "-x509",
            "-new",
            "-key",
            self._ca_key,
            "-sha256",
            "-days",
            2,
            "-subj",
            f"/CN=Signalbox {name} CA",
            "-out",
            self.ca,
        )

    def server(
        self, name="server", common_name="localhost", alt="DNS:localhost,IP:127.0.0.1,IP:::1"
    ):
        """(certificate, key) of a server that is localhost."""
        return self._issue(
            name, common_name, f"subjectAltName={alt}\nextendedKeyUsage=serverAuth\n"
        )

    def client(self, user):
        """(certificate, key) of the client whose common name is `user`."""
        return self._issue(f"client-{user}", user, "extendedKeyUsage=clientAuth\n")

    @staticmethod
    def _new_key(path):
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
        path.chmod(0o600)

    def _issue(self, name, common_name, extensions):
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        request, config = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        if certificate.exists():
            return certificate, key
        self._serial += 1
        self._new_key(key)
        config.write_text(extensions)
        _openssl("req", "-new", "-key", key, "-subj", f"/CN={common_name}", "-out", request)
        _openssl(
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            self.ca,
            "-CAkey",
            self._ca_key,
            "-sha256",
            "-days",
            2,
            "-set_serial",
            self._serial,
            "-extfile",
            config,
            "-out",
            certificate,
        )
        return certificate, key
