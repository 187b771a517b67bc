<?php
// The guestbook: GET shows it, POST adds an entry and shows it then. Paths without a file come here too.
require 'entries.php';
require 'page.php';
session_start();

$path = rtrim(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), '/');
if ($path !== '' && $path !== '/index.php') {
    http_response_code(404);
    page('Not found', fn () => print '<p>There is no ' . h($path) . '.</p>');
    exit;
}
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $name = trim($_POST['name'] ?? '');
    $text = trim($_POST['text'] ?? '');
    if ($name === '' || $text === '') {
        http_response_code(422);
        page('Guestbook', fn () => print '<p>Name and text, please.</p>');
        exit;
    }
    $_SESSION['name'] = $name;
    add_entry($name, $text);
    header('Location: /', true, 303);
    exit;
}
page('Guestbook', function () {
    foreach (entries() as $entry) {
        echo '<article><b>', h($entry['name']), '</b><p>', h($entry['text']), '</p></article>';
    }
    echo '<form method="post"><input name="name" placeholder="Name" value="', h($_SESSION['name'] ?? ''), '">';
    echo '<textarea name="text"></textarea><button>Sign</button></form>';
    echo '<form method="post" action="/picture.php" enctype="multipart/form-data"><input type="file" name="picture"><button>Size it</button></form>';
});
