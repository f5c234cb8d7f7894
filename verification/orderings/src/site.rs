//! Where the sources order memory, and how each place can be weakened by one step.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, ExprCall, ExprMethodCall, ExprPath, ImplItemFn, ItemFn, ItemMod, ItemUse,
};

/// What is not the shipped code: the collector of the models, and the door itself.
const LEFT_OUT: [&str; 2] = ["reclaim/model.rs", "sync.rs"];

/// Orderings that are not Relaxed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Strength {
    Acquire,
    Release,
    AcqRel,
    SeqCst,
}

impl Strength {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "Acquire" => Self::Acquire,
            "Release" => Self::Release,
            "AcqRel" => Self::AcqRel,
            "SeqCst" => Self::SeqCst,
            _ => return None,
        })
    }
}

/// What stands there instead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mutant {
    Relaxed,
    Acquire,
    Release,
    AcqRel,
    /// No fence at all.
    Nothing,
}

/// One ordering of one access, or one fence.
#[derive(Debug)]
pub struct Site {
    /// Which of all.
    pub number: usize,
    /// Below `src`, with slashes.
    pub file: String,
    /// The function it stands in.
    pub function: String,
    /// The access, as `cursor.load`, or `fence`.
    pub access: String,
    /// Which of several such in this function.
    pub nth: usize,
    pub strength: Strength,
    fence: bool,
    /// The ordering, in bytes of the file.
    ordering: Range<usize>,
    /// The whole call.
    call: Range<usize>,
}

impl Site {
    pub fn mutants(&self) -> Vec<(&Self, Mutant)> {
        let weaker: &[Mutant] = match (self.strength, self.fence) {
            (Strength::SeqCst, _) => &[Mutant::AcqRel],
            (Strength::AcqRel, _) => &[Mutant::Acquire, Mutant::Release],
            (Strength::Acquire | Strength::Release, false) => &[Mutant::Relaxed],
            (Strength::Acquire | Strength::Release, true) => &[Mutant::Nothing],
        };
        weaker.iter().map(|&mutant| (self, mutant)).collect()
    }

    /// What the place becomes in the copy, where the ordering is asked for.
    fn switched(&self, source: &str) -> (Range<usize>, String) {
        let Self { number, .. } = self;
        let ordering = &source[self.ordering.clone()];
        if self.fence {
            let text = format!("crate::sync::weakening::fence({number}, {ordering})");
            (self.call.clone(), text)
        } else {
            let text = format!("crate::sync::weakening::ordering({number}, {ordering})");
            (self.ordering.clone(), text)
        }
    }
}

/// The source of a file in which all its sites are switched.
pub fn switch<'a>(source: &str, sites: impl Iterator<Item = &'a Site>) -> String {
    let mut places: Vec<_> = sites.map(|site| site.switched(source)).collect();
    // From the end, so that what is still to be replaced stays where it is.
    places.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut source = source.to_owned();
    for (range, text) in places {
        source.replace_range(range, &text);
    }
    source
}

/// All of them, in the order of files and lines.
pub fn find(root: &Path) -> Result<Vec<Site>> {
    let src = root.join("src");
    let mut files = Vec::new();
    collect(&src, &mut files)?;
    files.sort();
    let mut sites = Vec::new();
    for path in files {
        let file = path
            .strip_prefix(&src)?
            .to_string_lossy()
            .replace('\\', "/");
        if file.ends_with("tests.rs") || LEFT_OUT.contains(&file.as_str()) {
            continue;
        }
        sites.append(&mut sites_in(file, &fs::read_to_string(&path)?)?);
    }
    for (number, site) in sites.iter_mut().enumerate() {
        site.number = number;
    }
    Ok(sites)
}

fn sites_in(file: String, source: &str) -> Result<Vec<Site>> {
    let parsed = syn::parse_file(source).with_context(|| file.clone())?;
    let mut finder = Finder {
        file,
        ..Finder::default()
    };
    finder.visit_file(&parsed);
    let (named, understood) = (finder.named, finder.found.len());
    if understood != named {
        bail!(
            "{}: {named} orderings are named, {understood} understood",
            finder.file
        );
    }
    Ok(finder.found)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[derive(Default)]
struct Finder {
    file: String,
    functions: Vec<String>,
    found: Vec<Site>,
    /// Every place where an ordering is named, understood or not.
    named: usize,
    seen: HashMap<(String, String, Strength), usize>,
}

impl Finder {
    fn orderings<'a>(
        &mut self,
        access: &str,
        fence: bool,
        call: Range<usize>,
        arguments: impl Iterator<Item = &'a Expr>,
    ) {
        for argument in arguments {
            let Expr::Path(path) = argument else { continue };
            let Some(strength) = strength(path) else {
                continue;
            };
            let function = self.functions.join("::");
            let key = (function.clone(), access.to_owned(), strength);
            let nth = self.seen.entry(key).or_default();
            *nth += 1;
            self.found.push(Site {
                number: self.found.len(),
                file: self.file.clone(),
                function,
                access: access.to_owned(),
                nth: *nth,
                strength,
                fence,
                ordering: path.span().byte_range(),
                call: call.clone(),
            });
        }
    }

    fn inside(&mut self, name: String, visit: impl FnOnce(&mut Self)) {
        self.functions.push(name);
        visit(self);
        self.functions.pop();
    }
}

impl<'a> Visit<'a> for Finder {
    fn visit_item_mod(&mut self, module: &'a ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, _: &'a ItemUse) {}

    fn visit_item_fn(&mut self, function: &'a ItemFn) {
        if !is_for_tests(&function.attrs) {
            self.inside(function.sig.ident.to_string(), |this| {
                visit::visit_item_fn(this, function)
            });
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'a ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            let name = function.sig.ident.to_string();
            self.inside(name, |this| visit::visit_impl_item_fn(this, function));
        }
    }

    fn visit_expr_method_call(&mut self, call: &'a ExprMethodCall) {
        let access = format!("{}.{}", name_of(&call.receiver), call.method);
        self.orderings(&access, false, call.span().byte_range(), call.args.iter());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'a ExprCall) {
        let access = name_of(&call.func);
        let fence = access == "fence";
        self.orderings(&access, fence, call.span().byte_range(), call.args.iter());
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_path(&mut self, path: &'a ExprPath) {
        if strength(path).is_some() {
            self.named += 1;
        }
        visit::visit_expr_path(self, path);
    }

    fn visit_macro(&mut self, called: &'a syn::Macro) {
        // What stands inside is not parsed: nothing there may name an ordering.
        if mentions_ordering(called.tokens.clone()) {
            self.named += 1;
        }
    }
}

fn mentions_ordering(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => Strength::named(&ident.to_string()).is_some(),
        TokenTree::Group(group) => mentions_ordering(group.stream()),
        _ => false,
    })
}

fn strength(path: &ExprPath) -> Option<Strength> {
    Strength::named(&path.path.segments.last()?.ident.to_string())
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    let tests = |attribute: &Attribute| {
        let Ok(list) = attribute.meta.require_list() else {
            return attribute.path().is_ident("test");
        };
        list.path.is_ident("cfg") && is_test(list.tokens.clone())
    };
    attributes.iter().any(tests)
}

/// `test`, or `all(test, …)`: what `any(test, …)` lets in is shipped.
fn is_test(tokens: TokenStream) -> bool {
    let mut tokens = tokens.into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Ident(test)), None) => test == "test",
        (Some(TokenTree::Ident(all)), Some(TokenTree::Group(group))) if all == "all" => {
            let mut parts = group.stream().into_iter();
            parts.any(|part| matches!(part, TokenTree::Ident(ident) if ident == "test"))
        }
        _ => false,
    }
}

/// The last name of an expression.
fn name_of(expression: &Expr) -> String {
    match expression {
        Expr::Path(path) => {
            let last = path.path.segments.last();
            last.map_or_else(String::new, |segment| segment.ident.to_string())
        }
        Expr::Field(field) => match &field.member {
            syn::Member::Named(name) => name.to_string(),
            syn::Member::Unnamed(index) => format!("{}.{}", name_of(&field.base), index.index),
        },
        Expr::Index(index) => format!("{}[]", name_of(&index.expr)),
        Expr::MethodCall(call) => format!("{}()", call.method),
        Expr::Call(call) => format!("{}()", name_of(&call.func)),
        Expr::Paren(paren) => name_of(&paren.expr),
        Expr::Unary(unary) => name_of(&unary.expr),
        Expr::Reference(reference) => name_of(&reference.expr),
        _ => "…".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
        fn shipped(&self) {
            self.cursor.load(Ordering::Acquire);
            self.words[at].compare_exchange(0, 1, AcqRel, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            fence(Release);
        }
        #[cfg(any(test, unix))]
        fn shipped_somewhere() { cell.store(1, Ordering::Release); }
        #[cfg(all(test, not(loom)))]
        mod tests { fn a_test() { cell.load(Ordering::Acquire); } }
    "#;

    #[test]
    fn each_ordering_is_found() {
        let sites = sites_in("some.rs".into(), SOURCE).unwrap();
        let accesses: Vec<_> = sites.iter().map(|site| site.access.as_str()).collect();
        let expected = [
            "cursor.load",
            "words[].compare_exchange",
            "fence",
            "fence",
            "cell.store",
        ];
        assert_eq!(accesses, expected);
        let mutants: Vec<_> = sites.iter().flat_map(Site::mutants).collect();
        assert_eq!(mutants.len(), 6, "AcqRel has two");
    }

    #[test]
    fn each_place_asks_for_its_ordering() {
        let sites = sites_in("some.rs".into(), SOURCE).unwrap();
        let switched = switch(SOURCE, sites.iter());
        let places = [
            "cursor.load(crate::sync::weakening::ordering(0, Ordering::Acquire));",
            "(0, 1, crate::sync::weakening::ordering(1, AcqRel), Ordering::Relaxed);",
            "        crate::sync::weakening::fence(2, Ordering::SeqCst);",
            "        crate::sync::weakening::fence(3, Release);",
            "cell.store(1, crate::sync::weakening::ordering(4, Ordering::Release));",
            "cell.load(Ordering::Acquire);",
        ];
        for place in places {
            assert_eq!(switched.matches(place).count(), 1, "{place} in {switched}");
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let hidden = "fn f() { assert!(cell.load(Ordering::Acquire) == 1); }";
        assert!(sites_in("some.rs".into(), hidden).is_err());
    }
}
