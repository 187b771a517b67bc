// Guestbook keeps what visitors write in PostgreSQL, with pgx as any Go program would: the
// connection is a file that the Caddyfile grants.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	gojinn "github.com/gojinn/gojinn/guest/go"
)

const (
	// databaseVariable is the database's URL. With sslmode=require or stricter the connection is
	// encrypted, by the server that runs the function: allow tls instead of allow tcp.
	databaseVariable = "DATABASE_URL"
	// patience is how long the database may take.
	patience = 5 * time.Second

	maxBody = 16 << 10 // bytes
	maxName = 100      // characters
	maxText = 2000
	page    = 50 // entries
)

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	http.HandleFunc("GET /guestbook", withDatabase(list))
	http.HandleFunc("POST /guestbook", withDatabase(sign))
	gojinn.Serve(nil)
}

// An entry is what a visitor has written.
type entry struct {
	ID   int64     `json:"id"`
	Name string    `json:"name"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// A refusal is an error that is the visitor's, and what is told about it.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

// work is what is done in the database for a request that is in order.
type work func(ctx context.Context, db *pgx.Conn) (status int, body any, err error)

// withDatabase answers what read makes of a request.
func withDatabase(read func(r *http.Request) (work, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var status int
		var body any
		do, err := read(r)
		if err == nil {
			status, body, err = run(r.Context(), do)
		}
		var refused *refusal
		switch {
		case errors.As(err, &refused):
			status, body = refused.status, map[string]string{"error": refused.message}
		case err != nil:
			slog.Error("guestbook", "error", err)
			status, body = http.StatusServiceUnavailable, map[string]string{"error": "the guestbook is closed at the moment"}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(body); err != nil {
			slog.Error("answering", "error", err)
		}
	}
}

// run does the work with a connection of its own, and makes the table if there is none.
func run(ctx context.Context, do work) (status int, body any, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	db, err := connect(ctx, os.Getenv(databaseVariable))
	if err != nil {
		return 0, nil, err
	}
	defer db.Close(ctx)
	status, body, err = do(ctx, db)
	if !is(err, "42P01") { // undefined_table
		return status, body, err
	}
	_, err = db.Exec(ctx, `create table if not exists guestbook (
		id bigint generated always as identity primary key,
		name text not null, text text not null, at timestamptz not null default now())`)
	if err != nil && !is(err, "23505") { // unique_violation: another request makes it too
		return 0, nil, err
	}
	return do(ctx, db)
}

// is tells errors of the database by their code.
func is(err error, code string) bool {
	var database *pgconn.PgError
	return errors.As(err, &database) && database.Code == code
}

// connect connects to the database.
func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	network := "tcp"
	if config.TLSConfig != nil {
		network = "tls" // the server encrypts: to pgx it is a plain connection
	}
	config.TLSConfig, config.Fallbacks = nil, nil
	config.DialFunc = func(ctx context.Context, _, address string) (net.Conn, error) {
		return gojinn.DialContext(ctx, network, address)
	}
	// Names are the server's to look up.
	config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	// Statements are not prepared: a connection lives as long as a request.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	return pgx.ConnectConfig(ctx, config)
}

// list answers with the newest entries.
func list(*http.Request) (work, error) {
	return func(ctx context.Context, db *pgx.Conn) (int, any, error) {
		rows, err := db.Query(ctx, `select id, name, text, at from guestbook order by id desc limit $1`, page)
		if err != nil {
			return 0, nil, err
		}
		entries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[entry])
		if entries == nil {
			entries = []entry{}
		}
		return http.StatusOK, map[string]any{"entries": entries}, err
	}, nil
}

// sign adds an entry.
func sign(r *http.Request) (work, error) {
	var e entry
	if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&e); err != nil {
		return nil, &refusal{http.StatusBadRequest, "the body must be JSON with a name and a text"}
	}
	e.Name, e.Text = strings.TrimSpace(e.Name), strings.TrimSpace(e.Text)
	switch {
	case e.Name == "", e.Text == "":
		return nil, &refusal{http.StatusUnprocessableEntity, "name and text must not be empty"}
	case utf8.RuneCountInString(e.Name) > maxName, utf8.RuneCountInString(e.Text) > maxText:
		return nil, &refusal{http.StatusUnprocessableEntity, "name or text is too long"}
	case strings.ContainsRune(e.Name+e.Text, 0): // which PostgreSQL can't keep
		return nil, &refusal{http.StatusUnprocessableEntity, "name or text has a NUL"}
	}
	return func(ctx context.Context, db *pgx.Conn) (int, any, error) {
		err := db.QueryRow(ctx, `insert into guestbook (name, text) values ($1, $2) returning id, at`, e.Name, e.Text).Scan(&e.ID, &e.At)
		return http.StatusCreated, e, err
	}, nil
}
