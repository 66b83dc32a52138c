"""Sends one mail: send.py FROM TO KILOBYTES [tls]. Prints `sent`, or the code it was refused with."""

import random
import smtplib
import ssl
import sys

sender, to, size, *tls = sys.argv[1:]
text = "\r\n".join("%030x" % random.getrandbits(120) for _ in range(int(size) * 32))
try:
    with smtplib.SMTP("127.0.0.1", 25, local_hostname="client.example", timeout=60) as server:
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            server.starttls(context=context)
        server.sendmail(sender, to.split(","), f"Subject: order {size}\r\nTo: {to}\r\n\r\n{text}\r\n")
    print("sent")
except smtplib.SMTPRecipientsRefused as refused:
    print(next(iter(refused.recipients.values()))[0])
