package rewrite

const (
	pageSize = 64 << 10

	MaxModuleBytes     = 128 << 20
	MaxTypes           = 20_000
	MaxParams          = 1_000
	MaxResults         = 1_000
	MaxSignatureValues = 1_000_000
	MaxImports         = 10_000
	MaxFunctions       = 200_000
	MaxTables          = 1_000
	MaxGlobals         = 20_000
	MaxExports         = 20_000
	MaxElementSegments = 100_000
	MaxElements        = 1 << 20
	MaxTableElements   = 1 << 20
	MaxDataSegments    = 200_000
	MaxNameBytes       = 64 << 10
	MaxCustomSections  = 1_000
	MaxCodeBytes       = 64 << 20
	MaxBodyBytes       = 8 << 20
	MaxLocals          = 50_000
	MaxNesting         = 20_000
	MaxBranchTargets   = 65_520
	StackBudget        = 16 << 20
)
