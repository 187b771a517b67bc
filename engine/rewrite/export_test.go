package rewrite

// Overrun says whether the module was refused for a count or size that its bytes can't hold.
func Overrun(e *Error) bool { return e.overrun }
