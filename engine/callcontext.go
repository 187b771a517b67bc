package engine

import "context"

// What a mounted file system finds in the context of a call, beside its deadline and what
// the caller has put there.

// Refusal is something that a guest asked for and that its grants don't hold.
type Refusal struct {
	// What was asked for: "path", or the name of a capability such as "http".
	Kind string
	// Which one: a guest path, an origin, an address.
	What string
	// What was to be done with it, as far as it matters for a grant, such as a method or
	// "rw"; may be empty.
	How string
}

// RefusedPath is the kind of a refused guest path, and RefusedRead and RefusedWrite are how it can
// have been asked for.
const (
	RefusedPath  = "path"
	RefusedRead  = "ro"
	RefusedWrite = "rw"
)

// Refused tells who watches the call of ctx, see [Grants.Watch], that its guest was refused
// something. Without one it does nothing.
func Refused(ctx context.Context, r Refusal) {
	if watch, ok := ctx.Value(watchKey{}).(func(Refusal)); ok && watch != nil {
		watch(r)
	}
}

// BudgetOf returns the ceiling that the call of ctx shares with all others, from which whoever
// holds memory for a guest has to reserve it. Outside of calls it has no limit.
func BudgetOf(ctx context.Context) *Budget {
	if b, ok := ctx.Value(budgetKey{}).(*Budget); ok && b != nil {
		return b
	}
	return NewBudget(0)
}

type (
	watchKey  struct{}
	budgetKey struct{}
)
