/** The words that a param or table of a pattern may not be called by in C++ text: keywords, and macros of what compilers include. */

const WORDS = `
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class co_await co_return
co_yield compl concept const const_cast consteval constexpr constinit continue decltype default delete do double dynamic_cast
else enum explicit export extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
nullptr operator or or_eq private protected public register reinterpret_cast requires restrict return short signed sizeof
static static_assert static_cast struct switch template this thread_local throw true try typedef typeid typename typeof union
unsigned using virtual void volatile wchar_t while xor xor_eq
assert errno linux major makedev minor stderr stdin stdout unix
min max
`

export const RESERVED: ReadonlySet<string> = new Set(WORDS.trim().split(/\s+/))

/** Macros are spelled in capitals, so a name without a small letter is not taken as it is. */
export const spared = (name: string): string => (/[a-z]/.test(name) ? name : `of_${name}`)
