<?php
function h(string $text): string
{
    return htmlspecialchars($text, ENT_QUOTES | ENT_SUBSTITUTE);
}

function page(string $title, callable $body): void
{
    echo '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>', h($title), '</title>';
    echo '<link rel="stylesheet" href="/style.css"></head><body><h1>', h($title), '</h1>';
    $body();
    echo '</body></html>';
}
