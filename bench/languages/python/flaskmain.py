"""The Flask application as a function of gojinn. What it makes at its first requests is there at the start."""

import gojinn
from flaskapp import app

BODY = '{"email":"grace@example.com","name":"Grace","message":"A rehearsal."}'

gojinn.serve(wsgi=app, warm=["/page", {"method": "POST", "path": "/contact", "headers": {"Content-Type": "application/json"}, "body": BODY}])
