"""A small Flask application: a page, and the endpoint of its contact form."""

import contact
from flask import Flask, jsonify, render_template, request

app = Flask(__name__)

LANGUAGES = [
    {"name": "Python", "year": 1991, "typing": "dynamic"},
    {"name": "Ruby", "year": 1995, "typing": "dynamic"},
    {"name": "JavaScript", "year": 1995, "typing": "dynamic"},
    {"name": "Go", "year": 2009, "typing": "static"},
    {"name": "Rust", "year": 2015, "typing": "static"},
]


@app.post("/contact")
def send():
    status, answer = contact.check(request.get_data())
    return jsonify(answer), status


@app.route("/page", methods=["GET", "POST"])
def page():
    return render_template("page.html", languages=LANGUAGES, who=request.args.get("who", "world"))
