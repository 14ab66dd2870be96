"""Mail: notices as messages to people's mailboxes, through a server that takes them, over TLS. Needs the extra `mail`."""

from __future__ import annotations

import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final

from pydantic import SecretStr

from eventbus import MissingDriver
from quantum_trader.config import EmailConfig
from quantum_trader.monitoring.notices import Notice, Refused

try:
    import aiosmtplib
except ImportError as error:
    raise MissingDriver("e-mail", "mail") from error

PASSWORD_VARIABLE: Final = "QT_EMAIL_PASSWORD"
_SUBJECT: Final = 200  # characters
_TAKEN: Final = 250
_FINAL: Final = 500  # codes from here on say that trying again is no use


class MailChannel:
    """A `Channel`: each notice is one message to all recipients."""

    name = "email"
    remedy = f"[email] of notify.toml and {PASSWORD_VARIABLE}"

    def __init__(self, settings: EmailConfig, password: SecretStr | None, *, timeout_s: float) -> None:
        self._settings = settings
        self._password = password
        self._timeout_s = timeout_s

    async def send(self, notice: Notice) -> int:
        """Hand it to the server. Raises `Refused`."""
        settings = self._settings
        try:
            message = self._message(notice)
        except ValueError:
            raise Refused("sender or to is no address", is_final=True) from None
        try:
            refused, _said = await aiosmtplib.send(
                message,
                recipients=[*settings.to],
                hostname=settings.host,
                port=settings.port,
                username=settings.user or None,
                password=None if self._password is None else self._password.get_secret_value(),
                timeout=self._timeout_s,
                use_tls=settings.tls == "implicit",
                start_tls=settings.tls == "starttls",
                tls_context=None
                if settings.tls == "none"
                else ssl.create_default_context(cafile=settings.ca_file or None),
            )
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _as_refusal(error) from None  # its text may hold what was sent
        if refused:
            code = max(answer.code for answer in refused.values())
            raise Refused(f"{len(refused)} of {len(settings.to)} recipients refused", status=code, is_final=True)
        return _TAKEN

    def _message(self, notice: Notice) -> EmailMessage:
        settings, message = self._settings, EmailMessage()
        domain = settings.sender.rpartition("@")[2].strip(">") or None
        times = f" ({notice.count} times)" if notice.count > 1 else ""
        message["From"] = settings.sender
        message["To"] = ", ".join(settings.to)
        message["Subject"] = " ".join(f"[{notice.status}] {notice.title}{times}".split())[:_SUBJECT]
        message["Date"] = formatdate()
        message["Message-ID"] = f"<{notice.id}@{domain}>" if domain else make_msgid()
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(f"{notice.text}\n")
        return message


def _as_refusal(error: BaseException) -> Refused:
    causes: list[BaseException] = [error]
    while (deeper := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(deeper)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Refused(f"its certificate is not accepted: {cause.verify_message}", is_final=True)
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        code = min(one.code for one in error.recipients)
        return Refused(f"answered {code}", status=code, is_final=code >= _FINAL)
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return Refused(f"answered {error.code}", status=error.code, is_final=error.code >= _FINAL)
    if type(error) in (aiosmtplib.SMTPException, aiosmtplib.SMTPNotSupported):
        return Refused("it offers no TLS, or no login", is_final=True)
    return Refused(type(error).__name__)
