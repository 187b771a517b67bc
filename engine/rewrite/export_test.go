package rewrite

// Overrun says whether the module was refused for a count or size that its bytes can't hold.
func Overrun(e *Error) bool { return e.overrun }

// PaceSlice is how much may be done on the way out of functions before the host is called.
const PaceSlice = paceSlice

// UnseenWork is how much may be done on the way out without a turn of the host.
const UnseenWork = shallow*workPerByte + stackedWork + paceSlice
