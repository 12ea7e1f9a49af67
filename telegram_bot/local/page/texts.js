// The page's texts, in the language of the current person.

const TEXTS = {
  en: {
    simulation: "Simulation, not Telegram.",
    purpose: "For trying out Easel and for tests; nothing leaves this machine.",
    sketches: "Pictures from the built-in sketch engine are sketches, drawn without AI.",
    localTelegram: "local Telegram",
    youAre: "You are",
    language: "Language",
    chats: "Chats",
    messages: "Messages",
    start: "Start",
    message: "Message",
    send: "Send",
    attach: "Attach photos or files",
    asFile: "Send as a file, in full quality",
    commands: "Commands",
    inspector: "Inspector and faults",
    exportTranscript: "Save the transcript",
    block: "Block the bot",
    unblock: "Unblock the bot",
    blocked: "You blocked the bot",
    dropHere: "Drop photos or files here",
    toNewest: "Jump to the newest message",
    cancelReply: "Cancel the reply",
    reply: "Reply",
    calls: "Calls",
    faults: "Faults",
    close: "Close",
    photo: "Photo",
    file: "File",
    filterCalls: "Filter by method",
    noCalls: "No calls yet. They appear here as the bot makes them.",
    faultsText: "Make the bot's next calls fail the way Telegram sometimes does.",
    onMethod: "On",
    anyMethod: "any call",
    times: "Times",
    seconds: "Seconds",
    waitingFaults: "Pending faults",
    clearFaults: "Clear them",
    hooks: "This machine",
    running: "Running…",
    finished: "Finished, exit code",
    online: "bot · connected",
    offline: "the bot is not connected; messages wait for it",
    lost: "lost the connection to the local Telegram; reconnecting…",
    members: (n) => `${n} members; the bot reads commands, mentions and replies`,
    typing: "is typing…",
    upload_photo: "is sending a photo…",
    upload_document: "is sending a file…",
    edited: (n) => (n === 1 ? "edited" : `edited ${n}×`),
    editedLong: (n) => `edited ${n} ${n === 1 ? "time" : "times"}`,
    copied: "Copied",
    noAnswer: "The bot did not answer this press.",
    today: "Today",
    nothing: "No messages yet",
    changed: "Changed",
    fault429: ["Too many requests", "429 with retry_after"],
    fault502: ["Bad gateway", "502 with an HTML page"],
    faultTimeout: ["No answer", "the call succeeds, the answer never arrives"],
    faultSlow: ["Slow answer", "delayed by the seconds above"],
    fault403: ["Blocked", "403 for this call"],
    fault401: ["Token revoked", "401 for this call"],
    faultPhoto: ["Photo refused", "400, not accepted as a photo"],
    faultDuplicate: ["Duplicate update", "the next one arrives twice"],
    faultStaleUpdate: ["Stale update", "the last one arrives again"],
    faultStaleCallback: ["Stale press", "the next press is too old to answer"],
  },
  ru: {
    simulation: "Это имитация, а не Telegram.",
    purpose: "Для знакомства с Easel и для тестов; ничего не покидает этот компьютер.",
    sketches: "Картинки встроенного движка — наброски, нарисованные без ИИ.",
    localTelegram: "локальный Telegram",
    youAre: "Вы",
    language: "Язык",
    chats: "Чаты",
    messages: "Сообщения",
    start: "Начать",
    message: "Сообщение",
    send: "Отправить",
    attach: "Прикрепить фото или файлы",
    asFile: "Отправить файлом, без потери качества",
    commands: "Команды",
    inspector: "Вызовы и сбои",
    exportTranscript: "Сохранить переписку",
    block: "Заблокировать бота",
    unblock: "Разблокировать бота",
    blocked: "Вы заблокировали бота",
    dropHere: "Отпустите фото или файлы здесь",
    toNewest: "К последнему сообщению",
    cancelReply: "Не отвечать",
    reply: "Ответить",
    calls: "Вызовы",
    faults: "Сбои",
    close: "Закрыть",
    photo: "Фото",
    file: "Файл",
    filterCalls: "Фильтр по методу",
    noCalls: "Вызовов пока нет. Они появятся, когда бот их сделает.",
    faultsText: "Пусть следующие вызовы бота не удадутся — как это иногда бывает с Telegram.",
    onMethod: "Метод",
    anyMethod: "любой вызов",
    times: "Раз",
    seconds: "Секунд",
    waitingFaults: "Ожидающие сбои",
    clearFaults: "Отменить их",
    hooks: "Этот компьютер",
    running: "Выполняется…",
    finished: "Готово, код",
    online: "бот · на связи",
    offline: "бот не подключён; сообщения его подождут",
    lost: "нет связи с локальным Telegram; пробую снова…",
    members: (n) => `участников: ${n}; бот видит команды, упоминания и ответы`,
    typing: "печатает…",
    upload_photo: "отправляет фото…",
    upload_document: "отправляет файл…",
    edited: (n) => (n === 1 ? "изменено" : `изменено ${n}×`),
    editedLong: (n) => `изменено раз: ${n}`,
    copied: "Скопировано",
    noAnswer: "Бот не ответил на это нажатие.",
    today: "Сегодня",
    nothing: "Сообщений пока нет",
    changed: "Изменено",
    fault429: ["Слишком часто", "429 с retry_after"],
    fault502: ["Ошибка шлюза", "502 и страница HTML"],
    faultTimeout: ["Нет ответа", "вызов выполнен, но ответ не придёт"],
    faultSlow: ["Медленно", "ответ на столько секунд позже"],
    fault403: ["Блокировка", "403 на этот вызов"],
    fault401: ["Токен отозван", "401 на этот вызов"],
    faultPhoto: ["Фото не принято", "400, не принято как фото"],
    faultDuplicate: ["Дубль", "следующее обновление придёт два раза"],
    faultStaleUpdate: ["Повтор", "последнее обновление придёт снова"],
    faultStaleCallback: ["Старое нажатие", "на следующее нажатие уже не ответить"],
  },
};

let language = "en";

export const t = (key, ...values) => {
  const text = TEXTS[language][key];
  return typeof text === "function" ? text(...values) : text;
};

export function speak(code) {
  language = code.startsWith("ru") ? "ru" : "en";
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-t-placeholder]"))
    node.placeholder = t(node.dataset.tPlaceholder);
  for (const node of document.querySelectorAll("[data-t-label]")) label(node, t(node.dataset.tLabel));
}

export function label(node, text) {
  node.setAttribute("aria-label", text);
  if (node.tagName === "BUTTON") node.title = text;
}

export const clock = (seconds) =>
  new Date(seconds * 1000).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

export function day(seconds) {
  const date = new Date(seconds * 1000);
  if (date.toDateString() === new Date().toDateString()) return t("today");
  return date.toLocaleDateString(language, { day: "numeric", month: "long" });
}
