<?php
// /entry.php/<id>: an entry as JSON, by the path info.
require 'entries.php';
header('Content-Type: application/json');
foreach (entries() as $entry) {
    if (hash_equals('/' . $entry['id'], $_SERVER['PATH_INFO'] ?? '')) {
        exit(json_encode($entry));
    }
}
http_response_code(404);
echo json_encode(['error' => 'no such entry']);
