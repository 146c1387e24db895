// Every word of the page, in both languages. `{name}` is filled in by `t`.

const en = {
  "page.title": "DICE-Talk — make a portrait speak",
  "skip": "Skip to the studio",
  "nav.api": "API",
  "nav.language": "中文",
  "nav.language.label": "切换到中文",
  "nav.key": "API key",
  "health.engine": "{engine} engine",
  "health.loading": "Starting…",
  "health.unhealthy": "This server can't make videos at the moment.",
  "health.unreachable": "The server does not answer. Is it running?",
  "intro.title": "Make a portrait speak",
  "intro.text": "One face, one voice, one of eight emotions. Your files stay on this server and are removed after a day.",

  "portrait.title": "Portrait",
  "portrait.drop": "Drop a portrait here",
  "portrait.how": "A sharp picture of one face, seen from the front. You can also paste one.",
  "portrait.choose": "Choose a picture",
  "portrait.camera": "Use the camera",
  "portrait.change": "Change",
  "portrait.remove": "Remove",
  "portrait.alt": "Your portrait",
  "portrait.face": "Face {number} of {count}",
  "portrait.pick": "Which face should speak? Choose it in the picture.",
  "portrait.output": "Video size: {width} × {height}",
  "portrait.found.one": "Face found",
  "portrait.found.many": "{count} faces found",
  "portrait.found.none": "No face found",
  "portrait.checking": "Looking for a face…",
  "portrait.sample": "Try the sample",
  "view.label": "Show",
  "view.portrait": "Portrait",
  "view.video": "Video",

  "speech.title": "Speech",
  "speech.drop": "Drop a recording here",
  "speech.how": "WAV, MP3 or what your phone records, up to 5 minutes.",
  "speech.choose": "Choose a file",
  "speech.record": "Record",
  "speech.stop": "Stop",
  "speech.recording": "Recording… speak now",
  "speech.play": "Play the speech",
  "speech.pause": "Pause the speech",
  "speech.remove": "Remove the speech",
  "speech.name": "Recording {time}",
  "speech.level": "Loudness",
  "speech.converting": "Reading the recording…",
  "speech.cut": "Only the first 5 minutes will be used.",

  "emotion.title": "Emotion",
  "emotion.happy": "Happy",
  "emotion.sad": "Sad",
  "emotion.angry": "Angry",
  "emotion.surprised": "Surprised",
  "emotion.disgusted": "Disgusted",
  "emotion.fear": "Fear",
  "emotion.contempt": "Contempt",
  "emotion.neutral": "Neutral",

  "options.title": "Fine-tuning",
  "options.none": "all as recommended",
  "options.changed": "{count} changed",
  "options.reset": "Back to the recommended values",
  "options.range": "{low} to {high}",
  "options.slider": "{name}, slider",
  "option.ref_scale": "Likeness",
  "option.emo_scale": "Strength of the emotion",
  "option.crop": "Crop around the face",
  "option.inference_steps": "Denoising steps",
  "option.duration": "Longest video, in seconds",
  "option.fps": "Frames per second",
  "option.seed": "Seed",
  "option.dynamic_scale": "Liveliness",
  "option.min_resolution": "Shorter side, in pixels",
  "option.expand_ratio": "Room around the face",
  "option.engine": "Engine",
  "option.duration.empty": "whole speech",
  "option.seed.empty": "drawn",

  "submit": "Make the video",
  "submit.uploading": "Uploading… {percent} %",
  "submit.checking": "The server checks your files…",
  "submit.estimate": "It will take about {time}.",
  "submit.portrait": "Add a portrait first.",
  "submit.speech": "Add a speech recording first.",
  "submit.again": "No upload needed: the server still has your files.",

  "task.queued": "Waiting",
  "task.queued.first": "Next in line",
  "task.queued.position": "Number {position} in line",
  "task.load": "Waking up the engine",
  "task.prepare": "Looking at the portrait",
  "task.listen": "Listening to the speech",
  "task.denoise": "Imagining the movements",
  "task.render": "Drawing the frames",
  "task.done": "Done",
  "task.failed": "That did not work",
  "task.cancelled": "Cancelled",
  "task.cancelled.detail": "Nothing more is being made. Your portrait and speech are still here.",
  "task.gone": "The server no longer has this video. Videos are removed after a day.",
  "task.progress": "Progress of the video",
  "task.left": "about {time} left",
  "task.frames": "frame {frame} of {frames}",
  "task.steps": "step {step} of {steps}",
  "task.attempt": "attempt {attempt}",
  "task.cancel": "Cancel",
  "task.cancelling": "Cancelling…",
  "task.back": "Back to the portrait",
  "task.reconnecting": "The connection was lost. Trying again…",
  "task.announce.done": "The video is ready.",

  "result.video": "Your video: {emotion}",
  "result.download": "Download",
  "result.again": "Same portrait and speech, another emotion:",
  "result.again.one": "Make it again: {emotion}",
  "result.details": "Details",
  "result.engine": "Engine",
  "result.length": "Length",
  "result.took": "Made in",
  "result.seed": "Seed",
  "result.size": "Picture",
  "result.lag": "Lips and sound",
  "result.lag.value": "{frames} frames apart",
  "result.identity": "Likeness",
  "result.receipt": "Receipt (JSON)",
  "result.loading": "Fetching the video…",

  "history.title": "Your videos",
  "history.note": "Kept on the server for a day; this list is kept in this browser only.",
  "history.open": "{emotion}, {title}, {when}: {state}",
  "history.remove": "Remove {title}, {emotion}",
  "history.state.PENDING": "waiting",
  "history.state.PROCESSING": "{percent} %",
  "history.state.COMPLETED": "ready",
  "history.state.FAILED": "failed",
  "history.state.CANCELLED": "cancelled",
  "history.state.GONE": "expired",
  "history.removed": "Removed from the list.",

  "camera.title": "Take a portrait",
  "camera.take": "Take the picture",
  "camera.close": "Close",
  "camera.hint": "Face the camera, with light on your face.",
  "camera.denied": "The camera can't be used: the browser or you said no. Allow it in the browser's settings for this page.",
  "microphone.denied": "The microphone can't be used: the browser or you said no. Allow it in the browser's settings for this page.",
  "capture.insecure": "Camera and microphone only work over https or on this computer itself (localhost).",

  "key.title": "This server asks for an API key",
  "key.text": "Whoever runs the server can give you one. It is sent to this server only.",
  "key.label": "API key",
  "key.remember": "Remember it on this device",
  "key.save": "Use this key",
  "key.forget": "Forget the key",
  "key.close": "Not now",

  "error.image.read": "This is not a picture that can be read. Use a JPEG or PNG.",
  "error.audio.read": "This is not a recording that can be read. Use a WAV or MP3.",
  "error.audio.large": "The recording is larger than 50 MB. Send a shorter one, or an MP3.",
  "error.drop": "That is neither a picture nor a recording.",
  "error.network": "The server could not be reached. Nothing is lost: try again.",
  "error.unexpected": "The server answered with an error ({status}).",
  "error.later": "Try again in {time}.",
  "error.storage": "This browser keeps no data for this page, so the list will be empty next time.",
  "error.video": "The browser can't play this video here. It can still be downloaded.",

  "time.seconds": "{n} s",
  "time.minutes": "{n} min",
  "time.range": "{low}–{high}",
  "when.now": "just now",

  "footer.consent": "Animate only faces whose owners agree, and say that the video is synthetic.",
  "footer.docs": "API documentation",
  "noscript": "This page needs JavaScript. Without it, the API can still be used:",
};

const zh = {
  "page.title": "DICE-Talk — 让肖像开口说话",
  "skip": "跳到工作区",
  "nav.api": "API",
  "nav.language": "English",
  "nav.language.label": "Switch to English",
  "nav.key": "API 密钥",
  "health.engine": "{engine} 引擎",
  "health.loading": "正在启动…",
  "health.unhealthy": "服务器目前无法生成视频。",
  "health.unreachable": "服务器没有响应，它在运行吗？",
  "intro.title": "让肖像开口说话",
  "intro.text": "一张脸、一段声音、八种情感。文件只留在这台服务器上，一天后自动删除。",

  "portrait.title": "肖像",
  "portrait.drop": "把肖像拖到这里",
  "portrait.how": "一张清晰的正面人脸照片，也可以直接粘贴。",
  "portrait.choose": "选择图片",
  "portrait.camera": "使用摄像头",
  "portrait.change": "更换",
  "portrait.remove": "移除",
  "portrait.alt": "您的肖像",
  "portrait.face": "第 {number} 张脸，共 {count} 张",
  "portrait.pick": "让哪张脸说话？请在图片中选择。",
  "portrait.output": "视频尺寸：{width} × {height}",
  "portrait.found.one": "已找到人脸",
  "portrait.found.many": "找到 {count} 张人脸",
  "portrait.found.none": "没有找到人脸",
  "portrait.checking": "正在寻找人脸…",
  "portrait.sample": "试试示例",
  "view.label": "显示",
  "view.portrait": "肖像",
  "view.video": "视频",

  "speech.title": "语音",
  "speech.drop": "把录音拖到这里",
  "speech.how": "WAV、MP3 或手机录音，最长 5 分钟。",
  "speech.choose": "选择文件",
  "speech.record": "录音",
  "speech.stop": "停止",
  "speech.recording": "正在录音，请说话…",
  "speech.play": "播放语音",
  "speech.pause": "暂停语音",
  "speech.remove": "移除语音",
  "speech.name": "录音 {time}",
  "speech.level": "音量",
  "speech.converting": "正在读取录音…",
  "speech.cut": "只使用前 5 分钟。",

  "emotion.title": "情感",
  "emotion.happy": "快乐",
  "emotion.sad": "悲伤",
  "emotion.angry": "愤怒",
  "emotion.surprised": "惊讶",
  "emotion.disgusted": "厌恶",
  "emotion.fear": "恐惧",
  "emotion.contempt": "轻蔑",
  "emotion.neutral": "中性",

  "options.title": "微调",
  "options.none": "均为推荐值",
  "options.changed": "已修改 {count} 项",
  "options.reset": "恢复推荐值",
  "options.range": "{low} 到 {high}",
  "options.slider": "{name}，滑块",
  "option.ref_scale": "相似程度",
  "option.emo_scale": "情感强度",
  "option.crop": "围绕人脸裁剪",
  "option.inference_steps": "去噪步数",
  "option.duration": "视频最长秒数",
  "option.fps": "每秒帧数",
  "option.seed": "随机种子",
  "option.dynamic_scale": "活跃程度",
  "option.min_resolution": "短边像素数",
  "option.expand_ratio": "人脸周围留白",
  "option.engine": "引擎",
  "option.duration.empty": "整段语音",
  "option.seed.empty": "随机抽取",
  "option.ref_scale.help": "结果与肖像的接近程度（参考引导）。",
  "option.emo_scale.help": "情感与语音表现的强烈程度。",
  "option.crop.help": "先围绕最大的人脸把图片裁成正方形。",
  "option.inference_steps.help": "扩散引擎的去噪步数；lite 引擎没有此步骤。",
  "option.duration.help": "视频的最长秒数，不会超过语音长度。默认：语音长度，最长 300 秒。",
  "option.fps.help": "视频每秒的帧数。",
  "option.seed.help": "决定所有随机因素：相同的种子得到相同的视频。默认：随机抽取。",
  "option.dynamic_scale.help": "头部和面部动作的活跃程度。",
  "option.min_resolution.help": "视频短边的像素数；两边都会变为 64 的倍数。",
  "option.expand_ratio.help": "裁剪时人脸框向每边扩展的比例。",
  "option.engine.help": "由什么来渲染：auto 在扩散引擎的权重齐全时用 diffusion，否则用 lite。",

  "submit": "生成视频",
  "submit.uploading": "正在上传… {percent}%",
  "submit.checking": "服务器正在检查文件…",
  "submit.estimate": "大约需要 {time}。",
  "submit.portrait": "请先添加肖像。",
  "submit.speech": "请先添加语音。",
  "submit.again": "无需再次上传：服务器上还有您的文件。",

  "task.queued": "等待中",
  "task.queued.first": "下一个就是您",
  "task.queued.position": "排在第 {position} 位",
  "task.load": "正在唤醒引擎",
  "task.prepare": "正在观察肖像",
  "task.listen": "正在聆听语音",
  "task.denoise": "正在构想动作",
  "task.render": "正在绘制画面",
  "task.done": "完成",
  "task.failed": "没有成功",
  "task.cancelled": "已取消",
  "task.cancelled.detail": "已停止生成。肖像和语音仍在这里。",
  "task.gone": "服务器上已没有这个视频，视频一天后会被删除。",
  "task.progress": "视频进度",
  "task.left": "大约还需 {time}",
  "task.frames": "第 {frame} 帧，共 {frames} 帧",
  "task.steps": "第 {step} 步，共 {steps} 步",
  "task.attempt": "第 {attempt} 次尝试",
  "task.cancel": "取消",
  "task.cancelling": "正在取消…",
  "task.back": "回到肖像",
  "task.reconnecting": "连接中断，正在重试…",
  "task.announce.done": "视频已完成。",

  "result.video": "您的视频：{emotion}",
  "result.download": "下载",
  "result.again": "相同的肖像和语音，换一种情感：",
  "result.again.one": "再做一次：{emotion}",
  "result.details": "详情",
  "result.engine": "引擎",
  "result.length": "时长",
  "result.took": "用时",
  "result.seed": "种子",
  "result.size": "画面",
  "result.lag": "口型与声音",
  "result.lag.value": "相差 {frames} 帧",
  "result.identity": "相似度",
  "result.receipt": "凭据（JSON）",
  "result.loading": "正在取回视频…",

  "history.title": "您的视频",
  "history.note": "视频在服务器上保留一天；此列表只保存在这个浏览器中。",
  "history.open": "{emotion}，{title}，{when}：{state}",
  "history.remove": "移除 {title}，{emotion}",
  "history.state.PENDING": "等待中",
  "history.state.PROCESSING": "{percent}%",
  "history.state.COMPLETED": "已完成",
  "history.state.FAILED": "失败",
  "history.state.CANCELLED": "已取消",
  "history.state.GONE": "已过期",
  "history.removed": "已从列表中移除。",

  "camera.title": "拍摄肖像",
  "camera.take": "拍照",
  "camera.close": "关闭",
  "camera.hint": "面向摄像头，让光线照在脸上。",
  "camera.denied": "无法使用摄像头：浏览器或您拒绝了请求。请在浏览器中为此页面允许摄像头。",
  "microphone.denied": "无法使用麦克风：浏览器或您拒绝了请求。请在浏览器中为此页面允许麦克风。",
  "capture.insecure": "摄像头和麦克风只能在 https 下或本机（localhost）使用。",

  "key.title": "此服务器需要 API 密钥",
  "key.text": "请向服务器的管理者索取。密钥只会发送给这台服务器。",
  "key.label": "API 密钥",
  "key.remember": "在此设备上记住",
  "key.save": "使用此密钥",
  "key.forget": "忘记密钥",
  "key.close": "暂不",

  "error.image.read": "无法读取这张图片。请使用 JPEG 或 PNG。",
  "error.audio.read": "无法读取这段录音。请使用 WAV 或 MP3。",
  "error.audio.large": "录音超过 50 MB。请使用更短的录音或 MP3。",
  "error.drop": "这既不是图片，也不是录音。",
  "error.network": "无法连接服务器。内容没有丢失，请重试。",
  "error.unexpected": "服务器返回了错误（{status}）。",
  "error.later": "请在 {time}后重试。",
  "error.storage": "浏览器不为此页面保存数据，下次打开时列表会是空的。",
  "error.video": "浏览器无法在这里播放此视频，但仍可下载。",

  "time.seconds": "{n} 秒",
  "time.minutes": "{n} 分钟",
  "time.range": "{low}–{high}",
  "when.now": "刚刚",

  "footer.consent": "只让本人同意的面孔开口，并说明视频为合成。",
  "footer.docs": "API 文档",
  "noscript": "此页面需要 JavaScript。没有它也可以使用 API：",
};

// What the server says, in Chinese. It speaks English only; a sentence that is not here is shown as it came.
const zhServer = [
  [/^No face was found in the image/, "图片中没有找到人脸"],
  [/^A face was found in the image, but not its features/, "找到了人脸，但看不清五官"],
  [/^Use a sharp, well-lit picture.*/, "请使用一张清晰、光线充足的单人照片，面向镜头，头部直立且至少 60 像素高。"],
  [/^Eyes, nose and mouth must be visible.*/, "眼睛、鼻子和嘴必须可见：请使用正面或微侧、没有遮挡的照片。"],
  [/^Invalid image file type.*/, "图片格式不受支持。请使用 JPEG 或 PNG。"],
  [/^Invalid audio file type.*/, "音频格式不受支持。请使用 WAV 或 MP3。"],
  [/^The image can't be decoded/, "无法解码图片"],
  [/^The audio can't be decoded/, "无法解码音频"],
  [/^The file is damaged or incomplete\. Send a whole (.*) or (.*)\./, "文件已损坏或不完整，请发送完整的 $1 或 $2。"],
  [/^The audio is empty/, "音频是空的"],
  [/^The image is too small: (.*)/, "图片太小：$1"],
  [/^Each side must have at least (\d+) pixels\./, "每边至少 $1 像素。"],
  [/^The image has too many pixels: (.*)/, "图片像素过多：$1"],
  [/^The image is too long and narrow: (.*)/, "图片过于狭长：$1"],
  [/^image is too large/, "图片过大"],
  [/^audio is too large/, "音频过大"],
  [/^Allowed: image at most (\d+) MB, audio at most (\d+) MB\./, "图片最大 $1 MB，音频最大 $2 MB。"],
  [/^(\w+) must be between (\S+) and (\S+), got (.*)/, "$1 必须在 $2 到 $3 之间，现为 $4"],
  [/^(\w+) must be a whole number/, "$1 必须是整数"],
  [/^(\w+) must be a number/, "$1 必须是数字"],
  [/^A video of (.*) pixels is too large/, "$1 像素的视频过大"],
  [/^Engine '(\w+)' is not available on this server/, "此服务器没有 $1 引擎"],
  [/^Too many tasks are waiting/, "等待的任务过多"],
  [/^Too many of your tasks are waiting/, "您等待的任务过多"],
  [/^Too many requests/, "请求过于频繁"],
  [/^Too many uploads at the same time/, "同时上传过多"],
  [/^The server is shutting down/, "服务器正在关闭"],
  [/^Try again (soon|later)\./, "请稍后重试。"],
  [/^Task not found/, "找不到该任务"],
  [/^An API key is needed/, "需要 API 密钥"],
  [/^The API key is not known/, "API 密钥无效"],
  [/^The API key was revoked/, "API 密钥已被撤销"],
  [/^Ask whoever runs this server for another\./, "请向服务器的管理者另要一个。"],
  [/^The upload took too long/, "上传时间过长"],
  [/^Internal server error/, "服务器内部错误"],
  [/^Cancelled/, "已取消"],
];

export const tables = { en, zh };
const STORED = "dice-talk.language";
let language = pick();

function pick() {
  let chosen = null;
  try {
    chosen = localStorage.getItem(STORED);
  } catch {
    // A browser that keeps nothing: its own language counts.
  }
  if (chosen in tables) return chosen;
  const wanted = (navigator.languages ?? [navigator.language]).find((name) => /^(en|zh)\b/i.test(name));
  return /^zh/i.test(wanted ?? "") ? "zh" : "en";
}

export const currentLanguage = () => language;

export function switchLanguage() {
  language = language === "en" ? "zh" : "en";
  try {
    localStorage.setItem(STORED, language);
  } catch {
    // It then lasts until the page is closed.
  }
  document.dispatchEvent(new Event("language"));
}

export const known = (key) => key in tables[language];

export function t(key, values = {}) {
  const text = tables[language][key] ?? en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export function fromServer(sentence) {
  if (language === "en" || !sentence) return sentence ?? "";
  // Several findings about one form arrive as one sentence.
  return sentence
    .split("; ")
    .map((part) => {
      const rule = zhServer.find(([pattern]) => pattern.test(part));
      return rule ? part.replace(rule[0], rule[1]) : part;
    })
    .join("；");
}

export function emotionName(emotion) {
  return known(`emotion.${emotion}`) ? t(`emotion.${emotion}`) : emotion;
}

export function duration(seconds) {
  if (seconds < 90) return t("time.seconds", { n: Math.max(1, Math.round(seconds)) });
  return t("time.minutes", { n: Math.round(seconds / 60) });
}

// The engine's estimate is a range; one figure is enough where both ends read the same.
export function durationRange({ low, high }) {
  const [from, to] = [duration(low), duration(high)];
  if (from === to || high < 1.5) return to;
  if (high < 90) return t("time.seconds", { n: t("time.range", { low: Math.max(1, Math.round(low)), high: Math.round(high) }) });
  if (low >= 90) return t("time.minutes", { n: t("time.range", { low: Math.round(low / 60), high: Math.round(high / 60) }) });
  return `${from}–${to}`;
}

export function clock(seconds) {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function ago(time) {
  const minutes = (Date.now() - time) / 60_000;
  if (minutes < 1) return t("when.now");
  const relative = new Intl.RelativeTimeFormat(language, { style: "short", numeric: "always" });
  if (minutes < 60) return relative.format(-Math.round(minutes), "minute");
  if (minutes < 60 * 24) return relative.format(-Math.round(minutes / 60), "hour");
  return relative.format(-Math.round(minutes / 60 / 24), "day");
}

// Elements say by data-t which text is theirs; data-t-label and the like are for attributes.
export function translate(root) {
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
}
