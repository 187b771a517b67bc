<?php
// Tells the size of an uploaded picture, and its SHA-256.
header('Content-Type: application/json');
$file = $_FILES['picture'] ?? null;
if ($file === null || $file['error'] !== UPLOAD_ERR_OK || !is_uploaded_file($file['tmp_name'])) {
    http_response_code(422);
    exit(json_encode(['error' => 'a picture, please']));
}
[$width, $height] = @getimagesize($file['tmp_name']) ?: [0, 0];
echo json_encode(['name' => $file['name'], 'width' => $width, 'height' => $height, 'sha256' => hash_file('sha256', $file['tmp_name'])]);
