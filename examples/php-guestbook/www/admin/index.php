<?php
// What the server knows of the request: /admin/ is a folder with an index.
header('Content-Type: application/json');
header('Cache-Control: no-store');
echo json_encode(['entries' => is_file('/data/entries.jsonl') ? count(file('/data/entries.jsonl')) : 0, 'script' => $_SERVER['SCRIPT_NAME'], 'self' => $_SERVER['PHP_SELF']]);
