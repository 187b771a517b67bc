<?php
// Entries are lines of JSON. A line is appended as a whole, so that nobody has to wait for anybody.
const ENTRIES = '/data/entries.jsonl';

function entries(): array
{
    if (!is_file(ENTRIES)) {
        return [];
    }
    return array_map(fn ($line) => json_decode($line, true), file(ENTRIES, FILE_IGNORE_NEW_LINES | FILE_SKIP_EMPTY_LINES));
}

function add_entry(string $name, string $text): array
{
    $entry = ['id' => bin2hex(random_bytes(8)), 'name' => mb_substr($name, 0, 80), 'text' => mb_substr($text, 0, 2000), 'at' => gmdate('c')];
    file_put_contents(ENTRIES, json_encode($entry, JSON_UNESCAPED_UNICODE) . "\n", FILE_APPEND);
    return $entry;
}
