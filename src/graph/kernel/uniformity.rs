//! Uniform control flow: a check of kernels that naga does not make.
//!
//! WGSL wants every invocation of a workgroup to reach the same barriers. A barrier in a branch
//! that only some of them take hangs or corrupts results on a GPU, and passes on drivers that run a
//! workgroup in lockstep. The rules are those of WGSL's uniformity analysis, simplified:
//!
//! - Uniform values are constants, uniform blocks, workgroup ids, and read-only storage at a
//!   uniform index. Other builtins, `var<private>`, workgroup memory and writable storage are not.
//! - A local variable is uniform if every value stored in it is and every store is reached in
//!   uniform control flow. Members of structs count separately, elements of arrays do not.
//! - Control flow is uniform again after a branch, unless an invocation left it by `return`,
//!   `break` or `continue`: then it is uniform again after the call, the loop or the loop's body.

use std::collections::BTreeSet;

use naga::{
    AddressSpace, Binding, Block, BuiltIn, Expression, Function, Handle, LocalVariable, Module,
    Statement, StorageAccess, SwitchCase, Type, TypeInner,
};

/// Returns the operations of an entry point that need uniform control flow and may be reached
/// without it, each as `function: operation`. Overrides must have been replaced by constants.
///
/// Operations are barriers, `workgroupUniformLoad`, and everything that works on a whole subgroup:
/// subgroups are at most as large as a workgroup.
///
/// # Panics
/// If there is no such entry point.
pub(crate) fn violations(module: &Module, entry: &str) -> Vec<String> {
    let point = module.entry_points.iter().find(|point| point.name == entry);
    let point = point.unwrap_or_else(|| panic!("no entry point `{entry}`"));
    let arguments = point.function.arguments.iter();
    let arguments = arguments.map(|argument| of_builtin(module, argument.ty, &argument.binding));
    let (_, found) = call(module, entry, &point.function, arguments.collect(), true);
    found.into_iter().collect()
}

/// Whether all invocations of a workgroup have the same value.
#[derive(Debug, Clone, PartialEq)]
enum Uniform {
    /// The answer for the whole value.
    Whole(bool),
    /// Answers for the members of a struct.
    Members(Vec<Uniform>),
}

use Uniform::{Members, Whole};

impl Uniform {
    fn all(&self) -> bool {
        match self {
            Whole(uniform) => *uniform,
            Members(members) => members.iter().all(Uniform::all),
        }
    }

    fn member(&self, index: u32) -> Uniform {
        match self {
            Whole(uniform) => Whole(*uniform),
            Members(members) => members[index as usize].clone(),
        }
    }

    fn and(&self, other: &Uniform) -> Uniform {
        match (self, other) {
            (Whole(a), Whole(b)) => Whole(*a && *b),
            (Members(a), Members(b)) => Members(a.iter().zip(b).map(|(a, b)| a.and(b)).collect()),
            (Members(a), whole) | (whole, Members(a)) => {
                Members(a.iter().map(|member| member.and(whole)).collect())
            }
        }
    }
}

/// Returns the uniformity of an argument of an entry point.
fn of_builtin(module: &Module, ty: Handle<Type>, binding: &Option<Binding>) -> Uniform {
    match (&module.types[ty].inner, binding) {
        (TypeInner::Struct { members, .. }, None) => {
            let members = members.iter();
            Members(
                members
                    .map(|member| of_builtin(module, member.ty, &member.binding))
                    .collect(),
            )
        }
        (_, Some(Binding::BuiltIn(builtin))) => Whole(matches!(
            builtin,
            BuiltIn::WorkGroupId | BuiltIn::NumWorkGroups | BuiltIn::WorkGroupSize
        )),
        _ => Whole(false),
    }
}

/// Jumps out of a block.
#[derive(Debug, Clone, Copy, Default)]
struct Jumps {
    /// Some invocations return while others may not.
    returns: bool,
    /// Some invocations break while others may not.
    breaks: bool,
    /// Some invocations continue while others may not.
    continues: bool,
    /// Any invocation breaks.
    breaks_at_all: bool,
    /// Any invocation continues.
    continues_at_all: bool,
}

impl Jumps {
    fn diverge(self) -> bool {
        self.returns || self.breaks || self.continues
    }

    fn and(self, other: Jumps) -> Jumps {
        Jumps {
            returns: self.returns || other.returns,
            breaks: self.breaks || other.breaks,
            continues: self.continues || other.continues,
            breaks_at_all: self.breaks_at_all || other.breaks_at_all,
            continues_at_all: self.continues_at_all || other.continues_at_all,
        }
    }
}

/// Control flow at the end of a block: whether it is uniform, or `None` if the end is not reached.
type Flow = Option<bool>;

/// Follows a function. Returns the uniformity of its result, and the violations in it and in the
/// functions that it calls.
fn call(
    module: &Module,
    name: &str,
    function: &Function,
    arguments: Vec<Uniform>,
    flow: bool,
) -> (Uniform, BTreeSet<String>) {
    let mut walk = Walk {
        module,
        name,
        function,
        arguments,
        locals: function
            .local_variables
            .iter()
            .map(|(_, local)| whole_of(module, local.ty))
            .collect(),
        results: vec![Whole(true); function.expressions.len()],
        result: None,
        found: BTreeSet::new(),
        changed: false,
    };
    // answers only ever turn from uniform to not uniform, so this ends
    loop {
        walk.changed = false;
        walk.found.clear();
        walk.result = None;
        walk.block(&function.body, flow);
        if !walk.changed {
            return (walk.result.unwrap_or(Whole(true)), walk.found);
        }
    }
}

/// Uniform in all members.
fn whole_of(module: &Module, ty: Handle<Type>) -> Uniform {
    match &module.types[ty].inner {
        TypeInner::Struct { members, .. } => {
            let members = members.iter();
            Members(members.map(|member| whole_of(module, member.ty)).collect())
        }
        _ => Whole(true),
    }
}

struct Walk<'m> {
    module: &'m Module,
    name: &'m str,
    function: &'m Function,
    arguments: Vec<Uniform>,
    locals: Vec<Uniform>,
    /// Values of expressions that statements produce: results of calls and of operations.
    results: Vec<Uniform>,
    /// Values returned so far.
    result: Option<Uniform>,
    found: BTreeSet<String>,
    /// Whether a local or a result turned out less uniform than it was believed to be.
    changed: bool,
}

impl Walk<'_> {
    fn need(&mut self, flow: bool, what: &str) {
        if !flow {
            self.found.insert(format!("{}: {what}", self.name));
        }
    }

    /// Where a pointer leads, and whether all invocations have the same one.
    fn root(&self, pointer: Handle<Expression>) -> (&Expression, Vec<Option<u32>>, bool) {
        match &self.function.expressions[pointer] {
            Expression::AccessIndex { base, index } => {
                let (root, mut path, uniform) = self.root(*base);
                path.push(Some(*index));
                (root, path, uniform)
            }
            Expression::Access { base, index } => {
                let (root, mut path, uniform) = self.root(*base);
                path.push(None);
                (root, path, uniform && self.value(*index).all())
            }
            root => (root, vec![], true),
        }
    }

    fn load(&self, pointer: Handle<Expression>) -> Uniform {
        let (root, path, same) = self.root(pointer);
        match root {
            Expression::LocalVariable(local) => {
                let mut value = self.locals[local.index()].clone();
                for index in path {
                    value = match (&value, index) {
                        (Members(_), Some(index)) => value.member(index),
                        _ => Whole(value.all()),
                    };
                }
                if same { value } else { Whole(false) }
            }
            Expression::GlobalVariable(global) => Whole(
                same && match self.module.global_variables[*global].space {
                    AddressSpace::Uniform => true,
                    AddressSpace::Storage { access } => !access.contains(StorageAccess::STORE),
                    _ => false,
                },
            ),
            // a pointer that the caller passed
            _ => Whole(false),
        }
    }

    fn value(&self, expression: Handle<Expression>) -> Uniform {
        let all = |of: &[Handle<Expression>]| Whole(of.iter().all(|&of| self.value(of).all()));
        match &self.function.expressions[expression] {
            Expression::Literal(_)
            | Expression::Constant(_)
            | Expression::Override(_)
            | Expression::ZeroValue(_)
            | Expression::ArrayLength(_) => Whole(true),
            Expression::FunctionArgument(index) => self.arguments[*index as usize].clone(),
            Expression::Compose { ty, components } => match self.module.types[*ty].inner {
                TypeInner::Struct { .. } => {
                    Members(components.iter().map(|&of| self.value(of)).collect())
                }
                _ => all(components),
            },
            Expression::AccessIndex { base, index } => self.value(*base).member(*index),
            Expression::Access { base, index } => all(&[*base, *index]),
            Expression::Splat { value, .. } => self.value(*value),
            Expression::Swizzle { vector, .. } => self.value(*vector),
            Expression::Load { pointer } => self.load(*pointer),
            Expression::Unary { expr, .. } | Expression::As { expr, .. } => self.value(*expr),
            Expression::Binary { left, right, .. } => all(&[*left, *right]),
            Expression::Select {
                condition,
                accept,
                reject,
            } => all(&[*condition, *accept, *reject]),
            Expression::Relational { argument, .. } => self.value(*argument),
            Expression::Math {
                arg,
                arg1,
                arg2,
                arg3,
                ..
            } => {
                let rest = [arg1, arg2, arg3].into_iter().flatten();
                Whole(
                    std::iter::once(arg)
                        .chain(rest)
                        .all(|&of| self.value(of).all()),
                )
            }
            Expression::CallResult(_) | Expression::WorkGroupUniformLoadResult { .. } => {
                self.results[expression.index()].clone()
            }
            _ => Whole(false),
        }
    }

    fn note_local(&mut self, local: Handle<LocalVariable>, path: &[Option<u32>], value: &Uniform) {
        fn note(into: &mut Uniform, path: &[Option<u32>], value: &Uniform) {
            match (into, path) {
                (Members(members), [Some(index), rest @ ..]) => {
                    note(&mut members[*index as usize], rest, value);
                }
                (into, []) => *into = into.and(value),
                (into, _) => *into = into.and(&Whole(value.all())),
            }
        }
        let before = self.locals[local.index()].clone();
        note(&mut self.locals[local.index()], path, value);
        self.changed |= self.locals[local.index()] != before;
    }

    fn note_result(&mut self, expression: Handle<Expression>, value: Uniform) {
        let known = &mut self.results[expression.index()];
        let both = match (&*known, &value) {
            // as believed at first, before the type was known
            (Whole(true), _) => value,
            _ => known.and(&value),
        };
        self.changed |= *known != both;
        *known = both;
    }

    /// Values that an argument can be changed through, if it is a pointer to a local variable.
    fn lose(&mut self, pointer: Handle<Expression>) {
        if let (Expression::LocalVariable(local), ..) = self.root(pointer) {
            self.note_local(*local, &[], &Whole(false));
        }
    }

    fn block(&mut self, block: &Block, mut flow: bool) -> (Flow, Jumps) {
        let mut jumps = Jumps::default();
        for statement in block {
            let (after, more) = self.statement(statement, flow);
            jumps = jumps.and(more);
            match after {
                Some(after) => flow = after,
                None => return (None, jumps),
            }
        }
        (Some(flow), jumps)
    }

    fn statement(&mut self, statement: &Statement, flow: bool) -> (Flow, Jumps) {
        let here = (Some(flow), Jumps::default());
        match statement {
            Statement::Emit(range) => {
                for expression in range.clone() {
                    if let Expression::CooperativeLoad { .. }
                    | Expression::CooperativeMultiplyAdd { .. } =
                        self.function.expressions[expression]
                    {
                        self.need(flow, "cooperative matrix operation");
                    }
                }
                here
            }
            Statement::Block(block) => self.block(block, flow),
            Statement::If {
                condition,
                accept,
                reject,
            } => {
                let same = self.value(*condition).all();
                let (accepted, jumps) = self.block(accept, flow && same);
                let (rejected, more) = self.block(reject, flow && same);
                let jumps = jumps.and(more);
                let after = match (accepted, rejected) {
                    (None, None) => None,
                    _ if !same => Some(flow && !jumps.diverge()),
                    (Some(one), None) | (None, Some(one)) => Some(one),
                    (Some(one), Some(other)) => Some(one && other),
                };
                (after, jumps)
            }
            Statement::Switch { selector, cases } => self.switch(*selector, cases, flow),
            Statement::Loop {
                body,
                continuing,
                break_if,
            } => self.repeat(body, continuing, *break_if, flow),
            Statement::Break => {
                let jumps = Jumps {
                    breaks: !flow,
                    breaks_at_all: true,
                    ..Jumps::default()
                };
                (None, jumps)
            }
            Statement::Continue => {
                let jumps = Jumps {
                    continues: !flow,
                    continues_at_all: true,
                    ..Jumps::default()
                };
                (None, jumps)
            }
            Statement::Return { value } => {
                if let Some(value) = value {
                    let value = self.value(*value).and(&Whole(flow));
                    self.result = Some(match &self.result {
                        Some(before) => before.and(&value),
                        None => value,
                    });
                }
                let jumps = Jumps {
                    returns: !flow,
                    ..Jumps::default()
                };
                (None, jumps)
            }
            Statement::ControlBarrier(_) => {
                self.need(flow, "barrier");
                here
            }
            Statement::WorkGroupUniformLoad { pointer, result } => {
                self.need(flow, "workgroupUniformLoad");
                let (.., same) = self.root(*pointer);
                self.note_result(*result, Whole(same));
                here
            }
            Statement::SubgroupBallot { .. }
            | Statement::SubgroupGather { .. }
            | Statement::SubgroupCollectiveOperation { .. } => {
                self.need(flow, "subgroup operation");
                here
            }
            Statement::CooperativeStore { .. } => {
                self.need(flow, "cooperative matrix operation");
                here
            }
            Statement::Store { pointer, value } => {
                let (root, path, same) = self.root(*pointer);
                if let Expression::LocalVariable(local) = *root {
                    let value = self.value(*value).and(&Whole(flow && same));
                    self.note_local(local, &path, &value);
                }
                here
            }
            Statement::Call {
                function,
                arguments,
                result,
            } => {
                let values = arguments.iter().map(|&of| self.value(of)).collect();
                let callee = &self.module.functions[*function];
                let name = callee.name.as_deref().unwrap_or("?");
                let (value, found) = call(self.module, name, callee, values, flow);
                self.found.extend(found);
                arguments.iter().for_each(|&of| self.lose(of));
                if let Some(result) = result {
                    self.note_result(*result, value);
                }
                here
            }
            // atomics and images: their results are not uniform
            _ => here,
        }
    }

    fn switch(
        &mut self,
        selector: Handle<Expression>,
        cases: &[SwitchCase],
        flow: bool,
    ) -> (Flow, Jumps) {
        let inside = flow && self.value(selector).all();
        let (mut jumps, mut reached) = (Jumps::default(), false);
        for case in cases {
            let (after, more) = self.block(&case.body, inside);
            reached |= after.is_some();
            jumps = jumps.and(more);
        }
        reached |= jumps.breaks_at_all;
        let outer = Jumps {
            breaks: false,
            breaks_at_all: false,
            ..jumps
        };
        (reached.then_some(flow && !outer.diverge()), outer)
    }

    fn repeat(
        &mut self,
        body: &Block,
        continuing: &Block,
        break_if: Option<Handle<Expression>>,
        flow: bool,
    ) -> (Flow, Jumps) {
        // of the first round, then of later rounds too
        let mut head = flow;
        loop {
            let (after, mut jumps) = self.block(body, head);
            let again = after.is_some() || jumps.continues_at_all;
            // invocations that continue meet here; those that left do not
            let mut back = head && !jumps.returns && !jumps.breaks;
            if again {
                let (_, more) = self.block(continuing, back);
                jumps = jumps.and(more);
                if let Some(condition) = break_if {
                    jumps.breaks_at_all = true;
                    back &= self.value(condition).all();
                }
            }
            if head && again && !back {
                head = false;
                continue;
            }
            let outer = Jumps {
                returns: jumps.returns,
                ..Jumps::default()
            };
            return (jumps.breaks_at_all.then_some(flow && !jumps.returns), outer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::violations;

    /// Violations of a kernel with this body.
    fn of(body: &str) -> Vec<String> {
        let source = format!(
            "struct Params {{ n: u32 }}
            struct Mixed {{ same: u32, own: u32 }}
            @group(0) @binding(0) var<uniform> params: Params;
            @group(0) @binding(1) var<storage, read> x: array<u32>;
            @group(0) @binding(2) var<storage, read_write> y: array<u32>;
            var<workgroup> tile: array<u32, 64>;
            var<private> mine: u32;
            fn sync(lane: u32) -> u32 {{
                tile[lane] = lane;
                workgroupBarrier();
                return tile[0];
            }}
            fn early(lane: u32) -> u32 {{
                if lane == 0 {{ return 1; }}
                return 2;
            }}
            fn mixed(group: u32, lane: u32) -> Mixed {{ return Mixed(group + params.n, lane); }}
            @compute @workgroup_size(64)
            fn main(
                @builtin(workgroup_id) group: vec3u,
                @builtin(num_workgroups) groups: vec3u,
                @builtin(local_invocation_index) lane: u32,
            ) {{ {body} }}"
        );
        let module = naga::front::wgsl::parse_str(&source);
        let module = module.unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
        violations(&module, "main")
    }

    #[track_caller]
    fn right(body: &str) {
        assert_eq!(of(body), [""; 0], "{body}");
    }

    #[track_caller]
    fn wrong(body: &str) {
        assert_eq!(of(body), ["main: barrier"], "{body}");
    }

    #[test]
    fn a_barrier_in_a_branch_of_some_invocations_is_found() {
        wrong("if lane == 0 { workgroupBarrier(); }");
        wrong("if lane < params.n { y[lane] = 1; } else { workgroupBarrier(); }");
        wrong("switch lane { case 0: { workgroupBarrier(); } default: {} }");
        wrong("if lane == 0 && params.n > 1 { workgroupBarrier(); }");
        right("if params.n > 1 && group.x < groups.x { workgroupBarrier(); }");
        right("switch params.n { case 0: { workgroupBarrier(); } default: {} }");
        right("if lane == 0 { y[0] = 1; } workgroupBarrier();");
        right("switch lane { case 0: { y[0] = 1; } default: {} } workgroupBarrier();");
    }

    #[test]
    fn a_barrier_after_some_invocations_returned_is_found() {
        wrong("if lane >= params.n { return; } workgroupBarrier();");
        wrong("for (var i = lane; i < 64; i++) { if y[i] == 0 { return; } } workgroupBarrier();");
        wrong("switch lane { case 0: { return; } default: {} } workgroupBarrier();");
        right("if group.x >= params.n { return; } workgroupBarrier();");
        right("switch group.x { case 0: { return; } default: {} } workgroupBarrier();");
        right("y[lane] = early(lane); workgroupBarrier();");
    }

    #[test]
    fn a_barrier_in_a_loop_that_some_invocations_leave_is_found() {
        wrong("for (var i = lane; i < params.n; i += 64) { workgroupBarrier(); }");
        wrong("for (var i = 0u; i < lane; i++) { workgroupBarrier(); }");
        wrong(
            "for (var i = 0u; i < params.n; i++) { workgroupBarrier(); if i == lane { break; } }",
        );
        wrong(
            "for (var i = 0u; i < params.n; i++) { if i == lane { continue; } workgroupBarrier(); }",
        );
        wrong("var i = 0u; loop { workgroupBarrier(); continuing { i++; break if i > lane; } }");
        right("for (var i = group.x; i < params.n; i += groups.x) { workgroupBarrier(); }");
        right("for (var i = lane; i < params.n; i += 64) { y[i] = i; } workgroupBarrier();");
        right(
            "for (var i = 0u; i < params.n; i++) { workgroupBarrier(); if i == lane { continue; } }",
        );
        right(
            "var i = 0u; loop { workgroupBarrier(); continuing { i++; break if i > params.n; } }",
        );
        right(
            "for (var i = 64u; i > 0; i /= 2) { if lane < i { y[lane] = i; } workgroupBarrier(); }",
        );
    }

    #[test]
    fn a_value_that_left_a_loop_at_different_times_is_not_uniform() {
        wrong("var i = 0u; while i < lane { i++; } if i == 3 { workgroupBarrier(); }");
        right("var i = 0u; while i < params.n { i++; } if i == 3 { workgroupBarrier(); }");
        // known only in the second round
        wrong(
            "var a = 0u; var b = 0u;
            for (var i = 0u; i < 4; i++) { if b > 0 { workgroupBarrier(); } b = a; a = lane; }",
        );
    }

    #[test]
    fn memory_that_invocations_write_is_not_uniform() {
        wrong("if y[0] == 0 { workgroupBarrier(); }");
        wrong("if tile[0] == 0 { workgroupBarrier(); }");
        wrong("if mine == 0 { workgroupBarrier(); }");
        wrong("if x[lane] == 0 { workgroupBarrier(); }");
        right("if x[group.x] == 0 { workgroupBarrier(); }");
        right("if workgroupUniformLoad(&tile[0]) == 0 { workgroupBarrier(); }");
        right("if arrayLength(&y) == 0 { workgroupBarrier(); }");
    }

    #[test]
    fn functions_are_followed_with_their_arguments() {
        assert_eq!(of("if lane == 0 { y[0] = sync(lane); }"), ["sync: barrier"]);
        wrong("if sync(lane) == 0 { workgroupBarrier(); }");
        wrong("if early(lane) == 1 { workgroupBarrier(); }");
        wrong("if mixed(group.x, lane).own == 0 { workgroupBarrier(); }");
        wrong(
            "var m = mixed(group.x, lane); m.same = m.own; if m.same == 0 { workgroupBarrier(); }",
        );
        wrong(
            "var m = mixed(group.x, group.y); if lane == 0 { m.same = 1; } if m.same == 0 { workgroupBarrier(); }",
        );
        right("if early(group.x) == 1 { workgroupBarrier(); }");
        right("if mixed(group.x, lane).same == 0 { workgroupBarrier(); }");
        right("var m = mixed(group.x, lane); m.own = 1; if m.same == 0 { y[0] = sync(lane); }");
    }

    #[test]
    fn operations_of_a_subgroup_count_like_barriers() {
        let found = of("if lane == 0 { y[0] = subgroupAdd(lane); }");
        assert_eq!(found, ["main: subgroup operation"]);
        let found = of("if lane == 0 { y[0] = subgroupShuffle(lane, 1); }");
        assert_eq!(found, ["main: subgroup operation"]);
        let found = of("if lane == 0 { y[0] = workgroupUniformLoad(&tile[0]); }");
        assert_eq!(found, ["main: workgroupUniformLoad"]);
        right("y[lane] = subgroupAdd(lane);");
    }
}
