package policy

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// Bounds of expressions. Costs are CEL's own units, about one for each operation and each
// ten characters looked at.
const (
	// maxExpression is the longest expression in bytes, as in the API's schema.
	maxExpression = 2048
	// maxCost bounds one evaluation.
	maxCost = 20_000
	// maxDecisionCost bounds all evaluations for one command together.
	maxDecisionCost = 10 * maxCost
	// maxNesting bounds comprehensions in comprehensions.
	maxNesting = 2
	// maxPrograms bounds how many compiled expressions are remembered.
	maxPrograms = 1024
)

// expression is one compiled expression. It is safe for concurrent use.
type expression struct{ program cel.Program }

var (
	errCostly  = errors.New("the expressions of all rules together cost too much")
	errNotBool = errors.New("the result is not a bool")
)

// environment declares what an expression may use: two variables, and CEL's standard
// library, in which nothing depends on time, chance or the network.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	return cel.NewEnv(
		cel.CustomTypeProvider(provider{registry}),
		cel.CustomTypeAdapter(adapter{}),
		cel.Variable("statement", typeStatement),
		cel.Variable("session", typeSession),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(64),
		cel.ExpressionNodeLimit(4*maxExpression),
		cel.RegexProgramSizeLimit(1000),
		cel.DefaultUTCTimeZone(true),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(),
			cel.ValidateHomogeneousAggregateLiterals(), cel.ValidateComprehensionNestingLimit(maxNesting)),
	)
})

// programs remembers compiled expressions by their text: a policy is compiled anew at each
// change of any object, and its expressions rarely change.
var programs = struct {
	sync.Mutex
	byText map[string]*expression
}{byText: map[string]*expression{}}

// compileExpression compiles an expression. An error says what is wrong with it, and
// where.
func compileExpression(text string) (*expression, error) {
	if text == "" || len(text) > maxExpression {
		return nil, fmt.Errorf("must have 1 to %d bytes", maxExpression)
	}
	programs.Lock()
	defer programs.Unlock()
	if e := programs.byText[text]; e != nil {
		return e, nil
	}
	e, err := newExpression(text)
	if err != nil {
		return nil, err
	}
	if len(programs.byText) >= maxPrograms {
		clear(programs.byText)
	}
	programs.byText[text] = e
	return e, nil
}

func newExpression(text string) (*expression, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("make the environment of expressions: %w", err)
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, issuesError(issues)
	}
	if ast.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("is of type %s, and must be a bool", ast.OutputType())
	}
	if err := checkLiterals(ast.NativeRep()); err != nil {
		return nil, err
	}
	estimate, err := env.EstimateCost(ast, sizes{})
	if err != nil {
		return nil, fmt.Errorf("estimate the cost: %w", err)
	}
	if estimate.Max > maxCost {
		return nil, fmt.Errorf("may cost more than the limit of %d for a command with lists of %d items; nest less, or look at fewer things", maxCost, usualSize)
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		return nil, fmt.Errorf("plan the evaluation: %w", err)
	}
	return &expression{program}, nil
}

// issuesError puts CEL's findings into one line.
func issuesError(issues *cel.Issues) error {
	var found []string
	for _, e := range issues.Errors() {
		if len(found) == 4 {
			found = append(found, "and more")
			break
		}
		found = append(found, fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, strings.Join(strings.Fields(e.Message), " ")))
	}
	return errors.New(strings.Join(found, "; "))
}

// question is one command that rules are asked about. It serves one decision, in one
// goroutine.
type question struct {
	facts         *sql.Facts
	session       *sessionFacts
	inTransaction bool
	// asked is nil until an expression is.
	asked *evaluation
}

// answer is what an expression says of a command. Where err is set it says nothing.
type answer struct {
	holds bool
	err   error
}

// ask evaluates an expression, once for each command.
func (q *question) ask(e *expression) answer {
	if q.asked == nil {
		q.asked = &evaluation{statement: &statementFacts{facts: q.facts}, session: q.session, inTransaction: q.inTransaction, answers: map[*expression]answer{}}
	}
	a, known := q.asked.answers[e]
	if !known {
		a = q.asked.evaluate(e)
		q.asked.answers[e] = a
	}
	return a
}

// evaluation is what expressions say of one command, and what they look at.
type evaluation struct {
	statement     *statementFacts
	session       *sessionFacts
	inTransaction bool
	answers       map[*expression]answer
	cost          uint64
}

func (v *evaluation) evaluate(e *expression) answer {
	if v.cost > maxDecisionCost {
		return answer{err: errCostly}
	}
	value, details, err := e.program.Eval(v)
	if cost := details.ActualCost(); cost != nil {
		v.cost += *cost
	} else {
		v.cost += maxCost
	}
	if err != nil {
		return answer{err: err}
	}
	holds, ok := value.(types.Bool)
	if !ok {
		return answer{err: errNotBool}
	}
	return answer{holds: bool(holds)}
}

// ResolveName returns a variable.
func (v *evaluation) ResolveName(name string) (any, bool) {
	switch name {
	case "statement":
		return object{typeStatement, v.statement}, true
	case "session":
		return object{typeSession, v}, true
	}
	return nil, false
}

// Parent returns nil: there is no outer scope.
func (*evaluation) Parent() cel.Activation { return nil }
