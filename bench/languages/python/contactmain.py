"""The contact form's endpoint as a function of gojinn. What Python makes at the first requests is there at the start."""

import sys

import contact
import gojinn

SAMPLE = {"method": "POST", "path": "/contact", "headers": {"Content-Type": "application/json"},
          "body": '{"email":"grace@example.com","name":"Grace","message":"A rehearsal."}'}

if sys.argv[1] == "application":
    gojinn.serve(wsgi=contact.application, warm=SAMPLE)
gojinn.serve(contact.handler, warm=SAMPLE)
