<?php
// A contact form's endpoint: checks a message in JSON and answers in JSON.

const LIMITS = ["email" => 254, "name" => 100, "message" => 5000];

/** Returns the status and the answer for the body of a request. */
function check(string $text): array
{
    $form = json_decode($text);
    if (json_last_error() !== JSON_ERROR_NONE) {
        return [400, ["error" => "the body is no JSON"]];
    }
    if (!$form instanceof stdClass) {
        return [400, ["error" => "the body is no JSON object"]];
    }
    $errors = [];
    foreach (LIMITS as $name => $most) {
        $value = $form->$name ?? "";
        if (!is_string($value) || strlen($value) > $most) {
            $errors[$name] = "is not text of at most $most bytes";
        } elseif ($value === "" && $name !== "name") {
            $errors[$name] = "is missing";
        }
    }
    if (!isset($errors["email"]) && !str_contains($form->email, "@")) {
        $errors["email"] = "is no address";
    }
    if ($errors) {
        return [422, ["errors" => $errors]];
    }
    return [201, ["email" => $form->email, "name" => $form->name ?? "", "message" => $form->message]];
}

[$status, $answer] = check(file_get_contents("php://input"));
http_response_code($status);
header("Content-Type: application/json");
echo json_encode($answer);
