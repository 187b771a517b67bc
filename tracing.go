package gojinn

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// startSpan begins a span for a call if Caddy's tracing handler traces the
// request, as a child of its span and by the same provider. end finishes it.
func startSpan(ctx context.Context, function string) (traced context.Context, end func(reason string)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, func(string) {}
	}
	tracer := parent.TracerProvider().Tracer("github.com/gojinn/gojinn")
	ctx, span := tracer.Start(ctx, "gojinn "+function,
		trace.WithAttributes(attribute.String("gojinn.function", function)))
	return ctx, func(reason string) {
		span.SetAttributes(attribute.String("gojinn.reason", reason))
		if reason != "ok" {
			span.SetStatus(codes.Error, reason)
		}
		span.End()
	}
}

// traceparent is the W3C trace context for the guest: the call's own span, or
// what the client sent if nothing is traced here.
func traceparent(ctx context.Context, r *http.Request) string {
	carrier := propagation.HeaderCarrier{}
	if trace.SpanContextFromContext(ctx).IsValid() {
		propagation.TraceContext{}.Inject(ctx, carrier)
		return carrier.Get("traceparent")
	}
	if r.Header["Traceparent"] == nil {
		return ""
	}
	// Through the parser, so that the guest gets nothing that is not one.
	sent := propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	if trace.SpanContextFromContext(sent).IsValid() {
		return r.Header.Get("Traceparent")
	}
	return ""
}
